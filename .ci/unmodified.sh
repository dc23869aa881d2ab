#!/usr/bin/env bash
# The differential cases and random sequences once more, played by unmodified programs under `ringer run`.
set -euo pipefail
target/release/differential unmodified target/release/ringer
target/release/random run --seed 43 --count 1000 --jobs 8 --most 3 --ringer target/release/ringer
