#!/usr/bin/env bash
# Builds the wheel of what is committed: tools/build_wheel.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "$1")
python=$(command -v .venv/bin/python || command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# From a clean copy, so that nothing of the checkout's own builds gets in.
git archive HEAD | tar -x -C "$work"
"$python" -m pip --disable-pip-version-check wheel -qq --no-deps --constraint constraints.txt \
    --wheel-dir "$folder" "$work"
ls "$folder"/drive_segment_ros-*.whl
