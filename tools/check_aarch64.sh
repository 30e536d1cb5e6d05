#!/usr/bin/env bash
# Whether the vehicle's install has a wheel of each pinned dependency for ARM machines such as a
# Jetson: aarch64, glibc 2.35 (Ubuntu 22.04) and newer. Nothing is installed.
# Usage: tools/check_aarch64.sh [PYTHON VERSION ...]
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(3.10 3.12)
uv=$(command -v .venv/bin/uv || command -v uv)
python=$(command -v .venv/bin/python || command -v python3)
# What setup.py asks for, without building it, for nothing is to be built.
requirements=$("$python" - <<'EOF'
import setuptools  # brings distutils where Python has none
from distutils.core import run_setup

asked = run_setup('setup.py', stop_after='init')
extras = (asked.extras_require[name] for name in ('openvino', 'onnxruntime', 'hub'))
print(*asked.install_requires, *(one for extra in extras for one in extra), sep='\n')
EOF
)
for version in "${versions[@]}"; do
    "$uv" pip compile --quiet --no-header --no-annotate \
        --python-platform aarch64-manylinux_2_35 --python-version "$version" \
        --only-binary :all: --constraint constraints.txt - <<<"$requirements" >/dev/null
    echo "aarch64, Python $version: all wheels are there"
done
