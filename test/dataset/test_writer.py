"""Writing survives crashes, full disks, rivals and resumption; reading shows it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError

INFO = {'sensors': {'camera': '/front'}, 'calibration': {}, 'parameters': {'beta': 10.0}}


def frame(stamp_ns: int, size: int = 12) -> Frame:
    return Frame(
        stamp_ns=stamp_ns,
        image=bytes([stamp_ns % 256]) * size,
        image_suffix='.jpg',
        segment=np.full((4, 5), stamp_ns % 1000, np.uint16),
        proposals={
            'id': np.array([1], np.uint16),
            'kind': np.array([0], np.uint8),
            'points': np.array([stamp_ns % 1000], np.int32),
        },
        record={'offset_s': 0.0},
    )


def assert_whole(drive: Drive) -> None:
    """Every frame of the index can be read and is what was written."""
    for record in drive.frames:
        assert record.image_path.read_bytes()[:1] == bytes([record.stamp_ns % 256])
        assert (record.segment() == record.stamp_ns % 1000).all()
        assert record.proposals()['points'][0] == record.stamp_ns % 1000


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
        assert writer.stamps == {1}
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
    """Stands for the process ending between two system calls."""


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
        if 2 not in writer.stamps:
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
            # A disk that fills up takes the first part of what it is given.
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
        assert len(drive.frames) == len(writer.stamps)
        assert_whole(drive)
        assert not list((tmp_path / 'a').rglob('*.tmp'))
    finally:
        subprocess.run(['umount', str(tmp_path)], check=True)


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match=r'cannot write .*Not a directory'):
        DriveWriter(tmp_path / 'file' / 'a', INFO)
