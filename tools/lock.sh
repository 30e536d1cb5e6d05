#!/usr/bin/env bash
# Writes constraints.txt anew: the newest versions that agree with each other, for every Python and
# every extra of setup.py, and with colcon. Run it to move to newer versions, then test.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv

# torch is held where a CPU build is at hand; the CUDA libraries that other builds of it bring are
# theirs to choose. Bounds that hold for every line (tool.uv in pyproject.toml) are left out of each.
cat >"$work/requirements.in" <<'EOF'
colcon-common-extensions
setuptools
torch==2.13.0
wheel
EOF

{
    cat <<'EOF'
# Exact versions for a repeatable set-up on Linux x86-64, Python 3.10 to 3.14; markers where no one
# version serves them all. Only constraints: setup.py's extras choose what is installed. setuptools
# stays below 80 because colcon builds with it. Written by tools/lock.sh.
EOF
    "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.10 \
        --no-annotate --no-header \
        --extra train --extra openvino --extra onnxruntime --extra ros --extra web \
        --extra cluster --extra s3 --extra datasets --extra video --extra view --extra hub --extra docs \
        --extra lint --extra test \
        setup.py "$work/requirements.in" |
        sed -e '/^cuda-/d; /^nvidia-/d; /^triton=/d' \
            -e "s/ and platform_machine == 'x86_64' and sys_platform == 'linux'//" \
            -e "s/ and python_full_version < '3.15'//; s/ ; python_full_version < '3.15'$//"
} >"$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
