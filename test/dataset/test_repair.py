"""Leftovers of crashes go, frames stay, and each step is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.dataset.repair import remove_drive, repair
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError


def frame(stamp_ns: int) -> Frame:
    proposals = {name: np.ones(1, np.uint16) for name in ('id', 'kind', 'points')}
    return Frame(stamp_ns, b'image', '.jpg', np.ones((2, 2), np.uint16), proposals, {})


@pytest.fixture
def drive(tmp_path) -> Path:
    with DriveWriter(tmp_path / 'a', {}) as writer:
        for stamp in (1, 2, 3):
            writer.add(frame(stamp))
    return tmp_path / 'a'


def test_a_whole_dataset_is_left_as_it_is(drive):
    before = {path: path.stat().st_mtime_ns for path in drive.rglob('*')}
    report = repair(drive.parent)
    assert (report.drives, report.frames, report.repaired, report.problems) == (1, 3, [], [])
    assert {path: path.stat().st_mtime_ns for path in drive.rglob('*')} == before


def test_leftovers_of_a_frame_in_hand_go_and_are_told(drive):
    (drive / 'image' / '4.jpg').write_bytes(b'12345')
    (drive / 'segment' / '4.png.tmp').write_bytes(b'')
    with (drive / 'frames.jsonl').open('a') as file:
        file.write('{"stamp_ns": 4, "ima')
    report = repair(drive.parent)
    assert report.frames == 3
    assert report.repaired == [
        'a: cut an incomplete last line off frames.jsonl',
        'a: removed 1 files of no frame from image, 5 bytes',
        'a: removed 1 files of no frame from segment, 0 bytes',
    ]
    assert sorted(path.name for path in drive.rglob('*.*')) == sorted(
        ['drive.json', 'frames.jsonl']
        + [f'{s}.{e}' for s in (1, 2, 3) for e in ('jpg', 'png', 'npz')]
    )
    assert repair(drive.parent).repaired == []


def test_what_others_put_beside_the_frames_stays(drive):
    for name in ('pseudo_label/1.png', 'preview/9.png', 'protected'):
        (drive / name).parent.mkdir(exist_ok=True)
        (drive / name).write_bytes(b'x')
    assert repair(drive.parent).repaired == []
    assert (drive / 'preview' / '9.png').exists()


@pytest.mark.parametrize('damage', [Path.unlink, lambda path: path.write_bytes(b'')])
def test_frame_that_lost_a_file_leaves_the_index(drive, damage):
    damage(drive / 'segment' / '2.png')
    report = repair(drive.parent)
    assert [record.stamp_ns for record in Drive(drive).frames] == [1, 3]
    assert 'took 1 frames without their files out of the index (2)' in report.repaired[0]
    assert not (drive / 'image' / '2.jpg').exists()
    with DriveWriter(drive, {}, resume=True) as writer:
        writer.add(frame(2))
    assert len(Drive(drive).frames) == 3


def test_drive_that_is_being_written_is_left_alone(drive):
    with DriveWriter(drive, {}, resume=True):
        (drive / 'image' / '4.jpg').write_bytes(b'in hand')
        report = repair(drive.parent)
    assert 'another process is writing' in report.problems[0]
    assert (drive / 'image' / '4.jpg').exists()


def test_drives_that_never_began_go(drive):
    for name in ('image', 'segment'):
        (drive.parent / 'b' / name).mkdir(parents=True)
    DriveWriter(drive.parent / 'c', {}).close()
    (drive.parent / 'c' / 'drive.json').unlink()
    (drive.parent / 'mine').mkdir()
    (drive.parent / 'mine' / 'notes.txt').write_text('x')
    report = repair(drive.parent)
    assert sorted(path.name for path in drive.parent.iterdir()) == ['a', 'mine']
    assert report.repaired == [f'{name}: removed, no frame was in it' for name in 'bc']


def test_frames_without_drive_json_are_named_not_removed(drive):
    (drive / 'drive.json').unlink()
    report = repair(drive.parent)
    assert 'drive.json is missing beside 3 frames' in report.problems[0]
    assert (drive / 'image' / '1.jpg').exists()


@pytest.mark.parametrize('call', range(14))
def test_removing_a_drive_never_leaves_part_of_it(drive, monkeypatch, call):
    class CrashError(BaseException):
        pass

    count = 0

    def crashing(function):
        def wrapper(*args, **kwargs):
            nonlocal count
            count += 1
            if count > call:
                raise CrashError
            return function(*args, **kwargs)

        return wrapper

    with DriveWriter(drive.parent / 'other', {}) as writer:
        writer.add(frame(9))
    with monkeypatch.context() as patch:
        for name in ('rename', 'unlink', 'rmdir'):
            patch.setattr(os, name, crashing(getattr(os, name)))
        try:
            remove_drive(drive)
        except CrashError:
            pass
        else:
            assert not drive.exists()
    for each in Dataset(drive.parent).drives:
        for record in each.frames:
            assert record.image_path.exists()
            assert record.segment().all()
    # What is left over is whole, or goes.
    repair(drive.parent)
    left = {path.name for path in drive.parent.iterdir()}
    assert left in ({'a', 'other'}, {'other'})


def test_a_drive_or_nothing_is_no_dataset(drive):
    with pytest.raises(DatasetError, match='is one drive'):
        repair(drive)
    with pytest.raises(DatasetError, match='is not a folder'):
        repair(drive / 'nothing')


def test_index_of_another_format_is_a_problem_not_a_crash(drive):
    (drive / 'frames.jsonl').write_text(json.dumps({'stamp': 1}) + '\n{}\n')
    assert 'line 1 is not a frame' in repair(drive.parent).problems[0]
