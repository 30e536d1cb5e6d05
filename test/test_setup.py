"""tools/setup.sh: what it installs on which machine, and its errors where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = ('constraints.txt', 'package.xml', 'setup.py', 'setup.cfg', 'drive-segment')


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose install.sh only logs its arguments and adds an echoing command."""
    folder = tmp_path / 'checkout'
    (folder / 'tools').mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / 'tools/setup.sh', folder / 'tools')
    install = folder / 'tools/install.sh'
    install.write_text(
        '#!/bin/sh\necho "$@" >>installed\n'
        'printf \'#!/bin/sh\\necho "${ROS_DISTRO:-no ROS}" "$@"\' >.venv/bin/drive-segment\n'
        'chmod +x .venv/bin/drive-segment\n'
    )
    install.chmod(0o755)
    return folder


def run(checkout: Path, *words: str, machine: str = 'x86_64', **variables: str):
    """Run a command in the checkout, with a `uname` that reports the given machine."""
    tools = checkout.parent / 'bin'
    tools.mkdir(exist_ok=True)
    (tools / 'uname').write_text(
        f'#!/bin/sh\ncase "$1" in -s) echo Linux;; -m) echo {machine};; *) echo Linux {machine};; '
        'esac\n'
    )
    (tools / 'uname').chmod(0o755)
    environment = {
        'PATH': f'{tools}{os.pathsep}{os.environ["PATH"]}',
        'HOME': os.environ.get('HOME', '/root'),
        'PYTHON': sys._base_executable,  # type: ignore[attr-defined]
        **variables,
    }
    return subprocess.run(
        list(words), cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def rclpy_of_a_distribution(checkout: Path) -> str:
    (checkout.parent / 'ros/rclpy').mkdir(parents=True)
    (checkout.parent / 'ros/rclpy/__init__.py').touch()
    return str(checkout.parent / 'ros')


def test_on_x86_64_ros_comes_as_wheels(checkout):
    done = run(checkout, 'tools/setup.sh', 'demo')
    assert done.returncode == 0, done.stderr
    extras, python, editable = (checkout / 'installed').read_text().split()
    assert {'ros', 'train', 'web'} <= set(extras.split(','))
    assert 'test' not in extras.split(',')
    assert (python, editable) == ('.venv/bin/python', '--editable')
    assert 'include-system-site-packages = false' in (checkout / '.venv/pyvenv.cfg').read_text()
    # A second run installs nothing.
    assert run(checkout, 'tools/setup.sh', 'demo').stdout == ''
    assert len((checkout / 'installed').read_text().splitlines()) == 1


def test_on_arm_a_sourced_distribution_is_used(checkout):
    sourced = {'ROS_DISTRO': 'jazzy', 'PYTHONPATH': rclpy_of_a_distribution(checkout)}
    done = run(checkout, 'tools/setup.sh', 'demo', machine='aarch64', **sourced)
    assert done.returncode == 0, done.stderr
    extras = (checkout / 'installed').read_text().split()[0].split(',')
    assert 'ros' not in extras
    assert 'train' in extras
    assert 'include-system-site-packages = true' in (checkout / '.venv/pyvenv.cfg').read_text()


def test_on_arm_without_a_distribution_it_says_what_to_do(checkout):
    done = run(checkout, 'tools/setup.sh', 'demo', machine='aarch64')
    assert done.returncode == 1
    assert 'source a ROS 2' in done.stderr
    done = run(checkout, 'tools/setup.sh', 'demo', machine='aarch64', ROS_DISTRO='jazzy')
    assert done.returncode == 1
    assert 'imports rclpy of ROS 2 jazzy' in done.stderr


def test_the_command_of_a_checkout_sets_it_up_and_keeps_to_its_own_ros(checkout):
    done = run(checkout, './drive-segment', 'doctor', '--json', ROS_DISTRO='humble')
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'no ROS doctor --json\n'
    assert 'setup: installing' in done.stderr
    again = run(checkout, './drive-segment', 'doctor', machine='aarch64', ROS_DISTRO='jazzy')
    assert (again.stdout, again.stderr) == ('jazzy doctor\n', '')


def test_extras_in_images_and_scripts_exist():
    import re

    described = (ROOT / 'setup.py').read_text()
    known = set(re.findall(r"^        '([a-z0-9]+)': \[", described, re.MULTILINE))
    assert {'train', 'web', 'hub'} <= known
    named = re.findall(
        r'tools/install.sh ([a-z0-9,]+)\n', (ROOT / 'docker/slim.Dockerfile').read_text()
    )
    named += re.findall(r'extras=([a-z0-9,]+)\n', (ROOT / 'tools/setup.sh').read_text())
    assert len(named) == 2
    assert {extra for one in named for extra in one.split(',')} <= known
