"""Kernels compile in a read-only installation of a user without a home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drive_segment_ros

KERNEL = (
    'import os, sys\n'
    '{first}\n'
    'from drive_segment_ros.perception.roughness import njit\n'
    'import drive_segment_ros\n'
    'print(drive_segment_ros.__file__, os.environ["NUMBA_CACHE_DIR"])\n'
)


@pytest.fixture
def read_only(tmp_path):
    """Environment of a process that can write only to its folder for temporary files.

    Root may write anywhere, so files stand where the folders would be made.
    """
    package = tmp_path / 'drive_segment_ros'
    source = Path(drive_segment_ros.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns('__pycache__'))
    for folder in [package, *(path for path in package.rglob('*') if path.is_dir())]:
        (folder / '__pycache__').touch()
    (tmp_path / 'tmp').mkdir()
    return os.environ | {
        'PYTHONPATH': str(tmp_path),
        'PYTHONDONTWRITEBYTECODE': '1',
        'HOME': '/dev/null',
        'XDG_CACHE_HOME': '/dev/null',
        'IPYTHONDIR': '/dev/null',
        'TMPDIR': str(tmp_path / 'tmp'),
        'NUMBA_CACHE_DIR': '/dev/null/none',
    }


def run(environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=environment['TMPDIR'],
    )


@pytest.mark.parametrize('first', ['', 'import numba'])
def test_kernels_are_kept_in_a_temporary_folder_of_the_user_alone(read_only, first):
    code = KERNEL.format(first=first)
    done = run(read_only, '-c', code)
    assert done.returncode == 0, done.stderr
    module, folder = done.stdout.split()
    assert module.startswith(read_only['PYTHONPATH'])
    assert Path(folder).parent == Path(read_only['TMPDIR'])
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert run(read_only, '-c', code).stdout.split()[1] == folder
    # One that others could have filled is not believed.
    os.chmod(folder, 0o777)
    assert run(read_only, '-c', code).stdout.split()[1] != folder


def test_doctor_says_where_compiled_kernels_are_kept(read_only):
    arguments = ('-m', 'drive_segment_ros.cli', 'doctor', '--json')
    checks = json.loads(run(read_only, *arguments).stdout)['checks']
    (found,) = (check for check in checks if check['name'] == 'compiled kernels')
    assert found['status'] == 'hint'
    assert 'NUMBA_CACHE_DIR' in found['advice']
    assert read_only['TMPDIR'] in found['detail']


def test_folder_of_choice_is_left_alone(read_only, tmp_path):
    chosen = tmp_path / 'chosen'
    done = run(read_only | {'NUMBA_CACHE_DIR': str(chosen)}, '-c', KERNEL.format(first=''))
    assert done.stdout.split()[1] == str(chosen)
    assert not list(Path(read_only['TMPDIR']).iterdir())
