"""Drives stay readable after crashes, full disks, concurrent writers and resumption."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from drive_segment_ros.dataset.frame import Frame, SweepRecord
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError

INFO = {
    'cameras': {'front': {'topic': '/front/image_raw'}},
    'lidar': {'topic': '/points'},
    'parameters': {'beta': 10.0},
}


def frame(stamp_ns: int, size: int = 12, camera: str = 'front', sweep_ns: int = 0) -> Frame:
    sweep_ns = sweep_ns or stamp_ns
    return Frame(
        camera=camera,
        stamp_ns=stamp_ns,
        image=bytes([stamp_ns % 256]) * size,
        image_suffix='.jpg',
        segment=np.full((4, 5), stamp_ns % 1000, np.uint16),
        sweep=SweepRecord(
            sweep_ns,
            {
                'id': np.array([1], np.uint16),
                'kind': np.array([0], np.uint8),
                'points': np.array([sweep_ns % 1000], np.int32),
            },
        ),
        record={'offset_s': 0.0},
    )


def assert_whole(drive: Drive) -> None:
    """Check that every indexed frame can be read and is what was written."""
    for record in drive.frames:
        assert record.image_path.read_bytes()[:1] == bytes([record.stamp_ns % 256])
        assert (record.segment() == record.stamp_ns % 1000).all()
        assert record.proposals()['points'][0] == record.sweep_stamp_ns % 1000


def test_round_trip_sorts_by_stamp(tmp_path):
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        for stamp in (5, 3, 4):
            writer.add(frame(stamp))
    drive = Drive(tmp_path / 'a')
    assert drive.info == INFO
    assert [record.stamp_ns for record in drive.frames] == [3, 4, 5]
    assert_whole(drive)
    assert not list((tmp_path / 'a').rglob('*.tmp'))


def test_existing_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / 'a').mkdir()
    DriveWriter(tmp_path / 'a', INFO).close()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'notes.txt').write_text('mine')
    for name in ('a', 'other'):
        before = sorted(tmp_path.rglob('*'))
        with pytest.raises(DatasetError, match=f'{name} exists and is not overwritten'):
            DriveWriter(tmp_path / name, INFO)
        assert sorted(tmp_path.rglob('*')) == before


def test_resume_adds_only_to_a_drive_of_the_same_kind(tmp_path):
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        writer.add(frame(1))
    with DriveWriter(tmp_path / 'a', {**INFO, 'software': 'newer'}, resume=True) as writer:
        assert writer.stamps == {'front': {1}}
        with pytest.raises(DatasetError, match='already has a frame of stamp 1'):
            writer.add(frame(1))
        writer.add(frame(2))
    assert len(Drive(tmp_path / 'a').frames) == 2
    with pytest.raises(DatasetError, match='other parameters'):
        DriveWriter(tmp_path / 'a', {**INFO, 'parameters': {'beta': 8.0}}, resume=True)


def test_second_writer_is_refused(tmp_path):
    with (
        DriveWriter(tmp_path / 'a', INFO),
        pytest.raises(DatasetError, match='another process is writing'),
    ):
        DriveWriter(tmp_path / 'a', INFO, resume=True)


class Crash(BaseException):
    """Simulates that the process ends between two system calls."""


@pytest.mark.parametrize('call', range(22))
def test_crash_at_any_system_call_leaves_whole_frames(tmp_path, monkeypatch, call):
    count = 0
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        writer.add(frame(1))

        def crashing(function):
            def wrapper(*args, **kwargs):
                nonlocal count
                count += 1
                if count > call:
                    raise Crash
                return function(*args, **kwargs)

            return wrapper

        with monkeypatch.context() as patch:
            for name in ('write', 'fsync', 'replace', 'open'):
                patch.setattr(os, name, crashing(getattr(os, name)))
            try:
                writer.add(frame(2))
                finished = True
            except Crash:
                finished = False
    drive = Drive(tmp_path / 'a')
    assert [record.stamp_ns for record in drive.frames][:1] == [1]
    assert len(drive.frames) == 2 or not finished
    assert_whole(drive)
    with DriveWriter(tmp_path / 'a', INFO, resume=True) as writer:
        if 2 not in writer.stamps['front']:
            writer.add(frame(2))
    assert len(Drive(tmp_path / 'a').frames) == 2
    assert_whole(Drive(tmp_path / 'a'))
    assert not list((tmp_path / 'a').rglob('*.tmp'))


def test_killed_writer_leaves_whole_frames(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_writer import DriveWriter, INFO, frame
with DriveWriter({str(tmp_path / 'a')!r}, INFO) as writer:
    for stamp in range(1, 100_000):
        writer.add(frame(stamp, 100_000))
        print(stamp, flush=True)
"""
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(5):
            acknowledged = int(child.stdout.readline())
        time.sleep(0.003)
        child.send_signal(signal.SIGKILL)
    drive = Drive(tmp_path / 'a')
    assert len(drive.frames) >= acknowledged
    assert_whole(drive)


@pytest.mark.parametrize('failing', range(8))
def test_full_disk_keeps_earlier_frames_and_nothing_of_the_failed_one(
    tmp_path, monkeypatch, failing
):
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        writer.add(frame(1))
        before = {path: path.stat().st_size for path in (tmp_path / 'a').rglob('*')}
        calls = 0
        real_write = os.write

        def write(file, data):
            nonlocal calls
            calls += 1
            if calls - 1 < failing // 2:
                return real_write(file, data)
            # A disk that becomes full first takes a part of the data.
            if calls - 1 == failing // 2 and failing % 2:
                return real_write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device')

        # 3 files, then the index line: the fourth write.
        with monkeypatch.context() as patch:
            patch.setattr(os, 'write', write)
            with pytest.raises(DatasetError, match='No space left on device') as error:
                writer.add(frame(2))
        assert '\n' not in str(error.value)
        assert {path: path.stat().st_size for path in (tmp_path / 'a').rglob('*')} == before
        writer.add(frame(3))
    assert [record.stamp_ns for record in Drive(tmp_path / 'a').frames] == [1, 3]


def fill(writer: DriveWriter) -> None:
    for stamp in range(1, 100):
        writer.add(frame(stamp, 20_000))


def test_really_full_disk(tmp_path):
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(tmp_path)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip('may not mount a small tmpfs here')
    try:
        with (
            DriveWriter(tmp_path / 'a', INFO) as writer,
            pytest.raises(DatasetError, match='No space left on device'),
        ):
            fill(writer)
        drive = Drive(tmp_path / 'a')
        assert len(drive.frames) > 2
        assert len(drive.frames) == len(writer.stamps['front'])
        assert_whole(drive)
        assert not list((tmp_path / 'a').rglob('*.tmp'))
    finally:
        subprocess.run(['umount', str(tmp_path)], check=True)


def test_cameras_of_a_sweep_share_its_proposals(tmp_path):
    info = {**INFO, 'cameras': {'front': {}, 'left': {}}}
    with DriveWriter(tmp_path / 'a', info) as writer:
        writer.add(frame(11, camera='front', sweep_ns=10))
        written = (tmp_path / 'a/proposal/10.npz').stat()
        writer.add(frame(11, camera='left', sweep_ns=10))
        writer.add(frame(12, camera='left', sweep_ns=10))
    assert (tmp_path / 'a/proposal/10.npz').stat() == written
    drive = Drive(tmp_path / 'a')
    assert {name: len(frames) for name, frames in drive.cameras.items()} == {'front': 1, 'left': 2}
    assert [(f.camera, f.stamp_ns) for f in drive.frames] == [
        ('front', 11), ('left', 11), ('left', 12),
    ]  # fmt: skip
    assert {f.proposal_path for f in drive.frames} == {tmp_path / 'a/proposal/10.npz'}
    assert_whole(drive)


def test_another_sweep_of_the_same_stamp_is_refused(tmp_path):
    info = {**INFO, 'cameras': {'front': {}, 'left': {}}}
    with DriveWriter(tmp_path / 'a', info) as writer:
        writer.add(frame(11, sweep_ns=10))
    other = frame(12, camera='left', sweep_ns=10)
    other.sweep.proposals['points'][0] += 1
    with DriveWriter(tmp_path / 'a', info, resume=True) as writer:
        with pytest.raises(DatasetError, match='already has another sweep of stamp 10'):
            writer.add(other)
        # Proposals with equal id, kind and points are the same sweep.
        same = frame(13, camera='left', sweep_ns=10)
        same.sweep.proposals['range'] = np.array([1.0], np.float32)
        writer.add(same)
    assert len(Drive(tmp_path / 'a').frames) == 2


def test_proposals_that_a_crash_left_are_written_anew(tmp_path):
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        (tmp_path / 'a/proposal/5.npz').write_bytes(b'of another version')
        writer.add(frame(5))
    assert_whole(Drive(tmp_path / 'a'))


def test_a_camera_that_comes_late_is_added_and_known_ones_stay(tmp_path):
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        writer.add(frame(1))
        os.utime(tmp_path / 'a/drive.json', (1000, 1000))
        with pytest.raises(DatasetError, match='has no camera left'):
            writer.add(frame(1, camera='left'))
        writer.add_camera('left', {'topic': '/left/image_raw'})
        writer.add(frame(1, camera='left'))
        with pytest.raises(DatasetError, match='another camera left'):
            writer.add_camera('left', {'topic': '/other'})
        with pytest.raises(DatasetError, match='not a valid camera name'):
            writer.add_camera('proposal', {})
    drive = Drive(tmp_path / 'a')
    assert drive.info['cameras']['front'] == INFO['cameras']['front']
    assert drive.info['cameras']['left'] == {'topic': '/left/image_raw'}
    assert len(drive.frames) == 2
    # Rotation removes the drive that began first, by this mtime.
    assert (tmp_path / 'a/drive.json').stat().st_mtime == 1000
    # Resuming with one camera keeps the other; a different camera of that name is refused.
    with DriveWriter(tmp_path / 'a', INFO, resume=True) as writer:
        assert writer.stamps == {'front': {1}, 'left': {1}}
    other = {**INFO, 'cameras': {'front': {'topic': '/other'}}}
    with pytest.raises(DatasetError, match='another camera front'):
        DriveWriter(tmp_path / 'a', other, resume=True)


@pytest.mark.parametrize('name', ['', '..', 'a/b', 'preview', 'proposal', 'drive.json', 'x' * 200])
def test_names_that_no_camera_may_have(tmp_path, name):
    with pytest.raises(DatasetError, match='is not a valid camera name'):
        DriveWriter(tmp_path / 'a', {'cameras': {name: {}}})
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match=r'cannot write .*Not a directory'):
        DriveWriter(tmp_path / 'file' / 'a', INFO)
