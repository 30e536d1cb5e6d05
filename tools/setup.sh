#!/usr/bin/env bash
# Makes .venv: a Python environment with this package, its dependencies and a real ROS 2.
# Usage: tools/setup.sh demo|dev     demo: all that a user types. dev: also docs, tests and lint.
# On x86-64 ROS 2 comes as wheels. Elsewhere, as on a Jetson (aarch64), there are none: the
# distribution that is sourced is used.
# A second run is instant; a change of setup.py, package.xml or constraints.txt installs anew.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:-}
extras=train,openvino,onnxruntime,web,hub,cluster,s3,datasets,video
case "$profile" in
    demo) ;;
    dev) extras=$extras,view,docs,lint,test ;;
    *) echo "setup: '$profile' is not a profile; use demo or dev" >&2; exit 2 ;;
esac

stamp=.venv/setup-$profile.sha256
inputs=(constraints.txt package.xml setup.py setup.cfg tools/install.sh tools/setup.sh)
as_asked() {  # whether .venv works, and is of the Python that was asked for
    local version
    version=$(.venv/bin/python -V 2>/dev/null) &&
        { [ -z "${PYTHON:-}" ] || [ "$version" = "$("$PYTHON" -V 2>/dev/null)" ]; }
}

if [ -f "$stamp" ] && sha256sum --check --status "$stamp" 2>/dev/null && as_asked; then
    exit 0
fi

die() {
    echo "setup: $*" >&2
    exit 1
}

venv=(venv)
needed=sys
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) extras=$extras,ros ;;
    Linux-*)
        [ -n "${ROS_DISTRO:-}" ] ||
            die "there are ROS 2 wheels for x86-64 only; on $(uname -m) source a ROS 2" \
                "distribution first, as in: . /opt/ros/jazzy/setup.bash"
        # Modules of ROS need packages of the system's Python.
        venv+=(--system-site-packages)
        needed=rclpy
        ;;
    *) die "this runs on Linux, not on $(uname -s); in a container it does, see docs/install.md" ;;
esac

suitable() {  # whether $1 is a Python this package runs on
    "$1" -c "import sys, $needed; sys.exit(not (3, 10) <= sys.version_info < (3, 15))" 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.13 python3.11 python3.14 python3.10}; do
        if suitable "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

# What the machine itself must bring, as Debian and Ubuntu call it.
missing=()
python=$(find_python)
if [ -z "$python" ] && [ "$needed" = rclpy ]; then
    die "no Python 3.10 to 3.14 here imports rclpy of ROS 2 $ROS_DISTRO; is its ros-base installed?"
elif [ -z "$python" ] && [ -n "${PYTHON:-}" ]; then
    die "PYTHON=$PYTHON is not a Python 3.10 to 3.14"
elif [ -z "$python" ]; then
    missing+=(python3 python3-venv)
elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
    missing+=("python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv")
fi
libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
while read -r library package; do
    grep -q "$library" <<<"$libraries" || missing+=("$package")
done <<'EOF'
libusb-1.0.so.0 libusb-1.0-0
libGL.so.1 libgl1
libgomp.so.1 libgomp1
libX11.so.6 libx11-6
EOF

root=()
[ "$(id -u)" = 0 ] || root=(sudo -n)

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
        die "this needs the equivalents of the Debian packages: ${missing[*]}"
    "${root[@]}" true 2>/dev/null ||
        die "run this first, then try again: sudo apt-get install ${missing[*]}"
    echo "setup: installing ${missing[*]}"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    python=$(find_python)
    [ -n "$python" ] || die 'no Python 3.10 to 3.14 found; install one, or name it: make PYTHON=...'
fi

# Tests look at pages in a browser; without one they skip and say so.
if [ "$profile" = dev ] && ! command -v chromium google-chrome >/dev/null; then
    echo 'setup: installing chromium'
    { "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends chromium; } >/dev/null 2>&1 ||
        echo 'setup: chromium could not be installed; tests in a browser will be skipped'
fi

# An environment whose interpreter has gone, or is another one than asked for, is made anew.
if ! as_asked; then
    echo "setup: making .venv with $("$python" -V) ($python)"
    "$python" -m "${venv[@]}" --clear .venv
fi
echo "setup: installing the '$profile' packages into .venv; the first time takes some minutes"
tools/install.sh "$extras" .venv/bin/python --editable
# What a distribution's own packages want of each other is not ours to check.
[ "$needed" = rclpy ] || .venv/bin/python -m pip --disable-pip-version-check check
.venv/bin/drive-segment warm-up
sha256sum "${inputs[@]}" >"$stamp"
