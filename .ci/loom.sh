#!/usr/bin/env bash
# The model checks of the ring protocol. A target directory of their own, since the flag rebuilds everything.
set -euo pipefail
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p ringer-ring --test loom
