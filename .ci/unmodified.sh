#!/usr/bin/env bash
# The differential cases, random sequences and what is conserved once more, played by unmodified programs under `ringer run`.
set -euo pipefail
target/release/differential unmodified target/release/ringer
target/release/ringer run --when always -- target/release/conservation --by system --seconds 1.5
target/release/random run --seed 43 --count 1000 --jobs 8 --most 3 --ringer target/release/ringer
