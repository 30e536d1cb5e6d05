"""The number of cores, with the quotas of containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drive_segment_ros import cores
from drive_segment_ros.cores import usable_cores

GROUP_2 = '0::/kubepods/pod\n'
GROUP_1 = '12:memory:/pod\n5:cpu,cpuacct:/docker/a\n'


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)))


@pytest.mark.parametrize(
    ('own', 'files', 'count'),
    [
        ('', {}, 8),
        (GROUP_2, {}, 8),
        (GROUP_2, {'kubepods/pod/cpu.max': 'max 100000'}, 8),
        (GROUP_2, {'kubepods/pod/cpu.max': '250000 100000'}, 3),
        (GROUP_2, {'kubepods/pod/cpu.max': 'max 1000', 'kubepods/cpu.max': '2000 1000'}, 2),
        # As within a container.
        ('0::/\n', {'cpu.max': '10000 100000'}, 1),
        (GROUP_2, {'cpu.max': '1600000 100000'}, 8),
        (GROUP_2, {'cpu.max': 'many'}, 8),
        (GROUP_1, {'cpu,cpuacct/docker/a/cpu.cfs_quota_us': '-1'}, 8),
        (
            GROUP_1,
            {'cpu,cpuacct/cpu.cfs_quota_us': '400000', 'cpu,cpuacct/cpu.cfs_period_us': '100000'},
            4,
        ),
    ],
)
def test_the_smaller_of_affinity_and_quota_counts(tmp_path: Path, own, files, count):
    (tmp_path / 'own').write_text(own)
    for name, content in files.items():
        path = tmp_path / 'groups' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + '\n')
    assert usable_cores(tmp_path / 'groups', tmp_path / 'own') == count


@pytest.mark.parametrize(('usable', 'left'), [(8, 0), (3, 3)])
def test_only_a_quota_is_a_limit_for_libraries(monkeypatch, usable, left):
    monkeypatch.setattr(cores, 'usable_cores', lambda: usable)
    assert cores.cores_of_quota() == left


def test_without_control_groups_the_affinity_counts(tmp_path: Path):
    assert usable_cores(tmp_path / 'none', tmp_path / 'none') == 8
