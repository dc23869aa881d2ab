#!/usr/bin/env bash
# Lints, with warnings denied.
set -euo pipefail
cargo clippy --workspace --all-targets -- -D warnings
