#!/usr/bin/env bash
# The tests that were seen to pass. The others (sys, ring, ops, engine, the rest of conformance) join by
# `cargo test --workspace` once they were.
set -euo pipefail
cargo test -p ringer-abi -p ringer
cargo test -p ringer-conformance --test liburing_suite
