#!/usr/bin/env bash
# liburing 2.3's own tests under Ringer, held against conformance/liburing-2.3.toml.
# A test that got worse runs once more, and is reported as unsteady if it then passes.
set -euo pipefail
cargo run --release -p ringer-conformance --bin liburing-suite -- check --retries 1
