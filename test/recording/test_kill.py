"""kill -9 at 200 random moments: every frame is whole, and no frame reported stored is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair

PROGRAM = Path(__file__).with_name('killed_recorders.py')
REPOSITORY = Path(__file__).resolve().parents[2]


def kill_recorders(dataset: Path, kills: int, size: int, quota_gb: float) -> list[list[list]]:
    arguments = [str(dataset), str(kills), str(size), str(quota_gb)]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        capture_output=True, check=False, timeout=900, cwd=REPOSITORY,
        env={'PYTHONPATH': str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def whole_frames(dataset: Path) -> list[tuple[int, str]]:
    """Check that every indexed frame is whole; return (stamp, camera) of each."""
    stamps = []
    for drive in Dataset(dataset).drives:
        for record in drive.frames:
            mark = (record.stamp_ns // 10**8 % 60_000 + 1).to_bytes(4, 'little')
            data = record.image_path.read_bytes()
            assert data, record.image_path
            assert data == mark * (len(data) // 4)
            assert record.segment().shape == (4, 5)
            assert len(record.proposals()['id']) == 1
            stamps.append((record.stamp_ns, record.camera))
    return stamps


@pytest.mark.parametrize(('kills', 'size'), [(100, 4000), (50, 1_000_000)])
def test_killed_at_any_moment_every_promised_frame_is_whole(tmp_path, kills, size):
    dataset = tmp_path / 'set'
    told = kill_recorders(dataset, kills, size, 0.0)
    promised = {(stamp, camera) for stamps in told for stamp, camera in stamps}
    assert len(told) == kills
    assert sum(bool(stamps) for stamps in told) > kills // 4
    assert promised <= set(whole_frames(dataset))
    before = sorted(whole_frames(dataset))
    report = repair(dataset)
    assert report.problems == []
    assert sorted(whole_frames(dataset)) == before
    assert report.frames == len(before)
    assert not list(dataset.rglob('*.tmp'))
    assert repair(dataset).repaired == []
    # Two recorders that began with the same stamp did not share a drive.
    indexed = [len(drive.frames) for drive in Dataset(dataset).drives]
    assert len(indexed) >= sum(bool(stamps) for stamps in told)


def test_killed_while_old_drives_are_removed_every_frame_left_is_whole(tmp_path):
    dataset = tmp_path / 'set'
    kill_recorders(dataset, 50, 100_000, 0.003)
    assert whole_frames(dataset)
    repair(dataset)
    assert whole_frames(dataset)
    assert not list(dataset.glob('*.removing'))
    assert sum(path.stat().st_size for path in dataset.rglob('*')) < 5_000_000
