#!/usr/bin/env bash
# fio, qemu-img, qemu-io and plocate under Ringer, checked by their own verification.
set -euo pipefail
cargo run --release -p ringer-conformance --bin applications
