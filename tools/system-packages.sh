#!/bin/bash
# Install the distribution's packages that the product and its tests need, where they are missing.
# With "tests": also what only the tests need.
set -eu

wanted=()
on_path() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }
library() { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q "$1"; }

on_path mosquitto || wanted+=(mosquitto)
on_path chromium || on_path chromium-browser || wanted+=(chromium fonts-dejavu-core)
library libGL.so.1 || wanted+=(libgl1)
library libglib-2.0.so.0 || wanted+=(libglib2.0-0)
if [ "${1:-}" = tests ]; then
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || on_path initdb || wanted+=(postgresql)
    on_path strace || wanted+=(strace)
fi
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)

if [ ${#wanted[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing on this machine: ${wanted[*]}. There is no apt-get: install them by hand." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "missing on this machine: ${wanted[*]}. As root: apt-get install ${wanted[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "installing ${wanted[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install --yes --no-install-recommends "${wanted[@]}" >/dev/null
