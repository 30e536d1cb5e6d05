#!/usr/bin/env bash
# Installs this checkout with the versions of constraints.txt into a Python environment.
# Usage: tools/install.sh EXTRAS [PYTHON [pip's options]], as in: tools/install.sh train,openvino
set -euo pipefail
cd "$(dirname "$0")/.."

extras=$1
python=${2:-python3}
options=("${@:3}")
pip=("$python" -m pip --disable-pip-version-check install -qq --constraint constraints.txt)

"${pip[@]}" setuptools wheel
# torch by itself and first: a build for this machine that pip is told of is then kept.
case ",$extras," in *,train,*) "${pip[@]}" torch ;; esac
"${pip[@]}" --no-build-isolation "${options[@]}" ".[$extras]"
