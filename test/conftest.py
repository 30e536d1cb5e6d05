"""Fixtures shared by the whole suite: the real drive, and a DDS domain of one's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def real_drive() -> Path:
    """The folder of the real drive: `bag`, `ground_truth`, `point_labels`; read only.

    DRIVE_SEGMENT_DATA names it; without, it is looked for beside the repository.
    """
    beside = REPOSITORY.parent / 'shared' / 'data' / 'pandaset_002_front'
    folder = Path(os.environ.get('DRIVE_SEGMENT_DATA', beside))
    if not (folder / 'bag').is_dir():
        pytest.skip(f'no real drive in {folder}; set DRIVE_SEGMENT_DATA to its folder')
    return folder


@pytest.fixture(scope='session')
def real_bag(real_drive: Path) -> Path:
    """The real drive's bag: front camera, 64-beam LiDAR, tf; 56 sweeps."""
    return real_drive / 'bag'


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A DDS domain that other runs on this machine do not use, closed to other machines."""
    domain = 1 + os.getpid() % 100
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return domain
