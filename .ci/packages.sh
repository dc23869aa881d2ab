#!/usr/bin/env bash
# Installs what the other steps need from Debian's packages. Without root it only says what is missing.
set -euo pipefail

needed=(build-essential dpkg-dev fio plocate qemu-utils)
missing=()
for package in "${needed[@]}"; do
    if ! dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
        missing+=("$package")
    fi
done

if [ "${#missing[@]}" -eq 0 ]; then
    echo "all there: ${needed[*]}"
elif [ "$(id -u)" -ne 0 ]; then
    echo "missing, and not root: ${missing[*]}"
else
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q install --yes --no-install-recommends "${missing[@]}"
fi
