"""Small frames and small disks for the tests of recording."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from drive_segment_ros.dataset.frame import EncodedFrame, Frame, SweepRecord


def small_frame(
    stamp_ns: int, size: int = 2000, camera: str = 'front', sweep_ns: int = 0
) -> EncodedFrame:
    """Return a frame whose image and segments encode its stamp, and proposals their sweep's."""
    sweep_ns = sweep_ns or stamp_ns
    mark = stamp_ns % 60_000 + 1
    return Frame(
        camera=camera,
        stamp_ns=stamp_ns,
        image=mark.to_bytes(4, 'little') * (size // 4),
        image_suffix='.jpg',
        segment=np.full((4, 5), mark, np.uint16),
        sweep=SweepRecord(
            sweep_ns,
            {
                'id': np.array([1], np.uint16),
                'kind': np.array([0], np.uint8),
                'points': np.array([sweep_ns % 60_000 + 1], np.int32),
            },
        ),
        record={},
    ).encoded()


@pytest.fixture
def make_frame():
    """Return `small_frame`, which makes a frame of a given stamp."""
    return small_frame


@pytest.fixture
def assert_whole():
    """Return a check that every indexed frame of a drive is what was written."""

    def check(drive) -> None:
        for record in drive.frames:
            mark = record.stamp_ns % 60_000 + 1
            assert record.image_path.read_bytes()[:4] == mark.to_bytes(4, 'little')
            assert (record.segment() == mark).all()
            points = record.proposals()['points']
            assert points[0] == record.sweep_stamp_ns % 60_000 + 1

    return check


class SmallDisk:
    """A tmpfs that can be filled, made read-only and unmounted."""

    def __init__(self, path: Path, size: str) -> None:
        self.path = path
        self._size = size

    def mount(self) -> bool:
        command = ['mount', '-t', 'tmpfs', '-o', f'size={self._size}', 'tmpfs', str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def remount(self, how: str) -> None:
        subprocess.run(['mount', '-o', f'remount,{how}', str(self.path)], check=True)

    def unmount(self) -> None:
        # Lazily, as files are open; to the recorder this looks like an unplugged disk.
        subprocess.run(['umount', '-l', str(self.path)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A mounted tmpfs of 2 MB."""
    path = tmp_path / 'disk'
    path.mkdir()
    disk = SmallDisk(path, '2m')
    if os.geteuid() != 0 or not disk.mount():
        pytest.skip('a small file system cannot be mounted here; needs root')
    yield disk
    while os.path.ismount(path):
        disk.unmount()
