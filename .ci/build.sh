#!/usr/bin/env bash
# The command and the shared object, as users build them, and the runners of the next steps.
set -euo pipefail
cargo build --release
cargo build --release -p ringer-conformance --bins
