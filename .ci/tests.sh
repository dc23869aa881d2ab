#!/usr/bin/env bash
# Every test of the workspace.
set -euo pipefail
cargo test --workspace
