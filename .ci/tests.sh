#!/usr/bin/env bash
# The packages whose tests were seen to pass as a whole. The other packages (ring, ops, engine) join by
# `cargo test --workspace` once theirs were.
set -euo pipefail
cargo test -p ringer-abi -p ringer-sys -p ringer -p ringer-conformance
