#!/usr/bin/env bash
# Whether the vehicle's install has a wheel of each pinned dependency for ARM machines such as a
# Jetson: aarch64, glibc 2.35 (Ubuntu 22.04) and newer. Nothing is installed.
# Usage: tools/check_aarch64.sh [PYTHON VERSION ...]
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(3.10 3.12)
uv=$(command -v .venv/bin/uv || command -v uv)
for version in "${versions[@]}"; do
    "$uv" pip compile --quiet --no-header --no-annotate \
        --python-platform aarch64-manylinux_2_35 --python-version "$version" \
        --only-binary :all: --constraint constraints.txt \
        --extra openvino --extra onnxruntime setup.py >/dev/null
    echo "aarch64, Python $version: all wheels are there"
done
