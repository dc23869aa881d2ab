#!/usr/bin/env bash
# All tests of the workspace, with what they need built.
set -euo pipefail
cargo test --workspace
