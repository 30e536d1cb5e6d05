"""Compiled kernels are cached even in a read-only installation without a home folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drive_segment_ros
from drive_segment_ros import compiled_kernels, doctor
from drive_segment_ros.compiled_kernels import FRAMES, VIEW

KERNEL = (
    'import os, sys\n'
    '{first}\n'
    'from drive_segment_ros.perception.roughness import njit\n'
    'import drive_segment_ros\n'
    'print(drive_segment_ros.__file__, os.environ["NUMBA_CACHE_DIR"])\n'
)


@pytest.fixture
def read_only(tmp_path):
    """Return the environment of a process that can write only to its temporary folder.

    Root ignores permissions, so files stand where cache folders would be created.
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
    # A folder that others can write to is not trusted.
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


WARM = """
import os
access = os.access
denied = os.environ.get('READ_ONLY', 'none')
os.access = lambda path, mode: denied not in str(path) and access(path, mode)
import numpy as np
from drive_segment_ros.perception.union_find import find_root
from drive_segment_ros.compiled_kernels import FRAMES, are_compiled, note_compiled
find_root(np.arange(3, dtype=np.int32), 2)
print(find_root.stats.cache_path, sum(find_root.stats.cache_misses.values()))
print(are_compiled(FRAMES))
note_compiled(FRAMES)
"""


def test_kernels_of_a_read_only_installation_are_taken_along(read_only, tmp_path):
    """As in a container image warmed up by root, run by a user who can write only to a home."""
    sources = tmp_path / 'drive_segment_ros/perception'
    (sources / '__pycache__').unlink()
    home = tmp_path / 'home'
    environment = read_only | {'XDG_CACHE_HOME': str(home)}
    del environment['NUMBA_CACHE_DIR']
    cold = run(environment, '-c', WARM)
    assert cold.stdout.split() == [str(sources / '__pycache__'), '1', 'False'], cold.stderr

    environment['READ_ONLY'] = str(sources)
    for _ in range(2):
        folder, misses, compiled = run(environment, '-c', WARM).stdout.split()
        assert Path(folder).is_relative_to(home / 'drive_segment_ros')
        assert (misses, compiled) == ('0', 'True')

    # Kernels of changed sources are compiled again.
    with (sources / 'union_find.py').open('a') as file:
        file.write('\n')
    _, misses, compiled = run(environment, '-c', WARM).stdout.split()
    assert (misses, compiled) == ('1', 'False')


def test_a_cold_start_says_how_long_it_takes_and_why(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled_kernels, 'kernel_folder', lambda: tmp_path)

    notice = compiled_kernels.cold_notice(FRAMES)

    found = re.search(r'takes about (\d+) s;', notice)
    assert found
    assert 5 < int(found[1]) < 100 * 60
    assert 'drive-segment warm-up' in notice
    assert doctor.check_kernel_cache().advice == 'drive-segment warm-up'
    compiled_kernels.note_compiled(FRAMES)
    assert compiled_kernels.cold_notice(FRAMES) == compiled_kernels.cold_notice(VIEW) == ''
    assert doctor.check_kernel_cache().status == 'ok'


def test_what_a_view_needs_is_not_all_that_frames_need(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled_kernels, 'kernel_folder', lambda: tmp_path)

    compiled_kernels.note_compiled(VIEW)

    assert compiled_kernels.are_compiled(VIEW)
    assert not compiled_kernels.are_compiled(FRAMES)
