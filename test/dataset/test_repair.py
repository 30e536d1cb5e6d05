"""Repair removes leftovers of crashes, keeps frames and reports each step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.dataset.repair import remove_drive, repair
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError

INFO = {'cameras': {'front': {}}}
RIG = {'cameras': {'front': {}, 'left': {}}}


def frame(stamp_ns: int, camera: str = 'front', sweep_ns: int = 0) -> Frame:
    sweep = SweepRecord(sweep_ns or stamp_ns, {name: np.ones(1, np.uint16) for name in REQUIRED})
    return Frame(camera, stamp_ns, b'image', '.jpg', np.ones((2, 2), np.uint16), sweep, {})


@pytest.fixture
def drive(tmp_path) -> Path:
    with DriveWriter(tmp_path / 'a', INFO) as writer:
        for stamp in (1, 2, 3):
            writer.add(frame(stamp))
    return tmp_path / 'a'


def test_a_whole_dataset_is_left_as_it_is(drive):
    before = {path: path.stat().st_mtime_ns for path in drive.rglob('*')}
    report = repair(drive.parent)
    assert (report.drives, report.frames, report.repaired, report.problems) == (1, 3, [], [])
    assert {path: path.stat().st_mtime_ns for path in drive.rglob('*')} == before


def test_leftovers_of_a_frame_in_hand_go_and_are_told(drive):
    (drive / 'front' / 'image' / '4.jpg').write_bytes(b'12345')
    (drive / 'front' / 'segment' / '4.png.tmp').write_bytes(b'')
    with (drive / 'front/frames.jsonl').open('a') as file:
        file.write('{"stamp_ns": 4, "ima')
    report = repair(drive.parent)
    assert report.frames == 3
    assert report.repaired == [
        'a/front: removed an incomplete last line of frames.jsonl',
        'a/front: removed 1 files without a frame from image, 5 bytes',
        'a/front: removed 1 files without a frame from segment, 0 bytes',
    ]
    assert sorted(path.name for path in drive.rglob('*.*')) == sorted(
        ['drive.json', 'frames.jsonl']
        + [f'{s}.{e}' for s in (1, 2, 3) for e in ('jpg', 'png', 'npz')]
    )
    assert repair(drive.parent).repaired == []


def test_what_others_put_beside_the_frames_stays(drive):
    for name in ('front/pseudo_label/1.png', 'front/preview/9.png', 'protected'):
        (drive / name).parent.mkdir(exist_ok=True)
        (drive / name).write_bytes(b'x')
    assert repair(drive.parent).repaired == []
    assert (drive / 'front/preview/9.png').exists()


@pytest.mark.parametrize('damage', [Path.unlink, lambda path: path.write_bytes(b'')])
def test_frame_that_lost_a_file_leaves_the_index(drive, damage):
    damage(drive / 'front' / 'segment' / '2.png')
    report = repair(drive.parent)
    assert [record.stamp_ns for record in Drive(drive).frames] == [1, 3]
    assert 'removed 1 frames without their files from the index (2)' in report.repaired[0]
    assert not (drive / 'front' / 'image' / '2.jpg').exists()
    with DriveWriter(drive, INFO, resume=True) as writer:
        writer.add(frame(2))
    assert len(Drive(drive).frames) == 3


def test_drive_that_is_being_written_is_left_alone(drive):
    with DriveWriter(drive, INFO, resume=True):
        (drive / 'front' / 'image' / '4.jpg').write_bytes(b'in hand')
        report = repair(drive.parent)
    assert 'another process is writing' in report.problems[0]
    assert (drive / 'front' / 'image' / '4.jpg').exists()


def test_drives_that_never_began_go(drive):
    for name in ('proposal', 'front/image'):
        (drive.parent / 'b' / name).mkdir(parents=True)
    DriveWriter(drive.parent / 'c', INFO).close()
    (drive.parent / 'c' / 'drive.json').unlink()
    (drive.parent / 'mine').mkdir()
    (drive.parent / 'mine' / 'notes.txt').write_text('x')
    report = repair(drive.parent)
    assert sorted(path.name for path in drive.parent.iterdir()) == ['a', 'mine']
    assert report.repaired == [f'{name}: removed, it had no frames' for name in 'bc']


def test_frames_without_drive_json_are_named_not_removed(drive):
    (drive / 'drive.json').unlink()
    report = repair(drive.parent)
    assert 'drive.json of 3 frames is missing' in report.problems[0]
    assert (drive / 'front' / 'image' / '1.jpg').exists()


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

    with DriveWriter(drive.parent / 'other', INFO) as writer:
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
    # After repair, the drive is either complete or gone.
    repair(drive.parent)
    left = {path.name for path in drive.parent.iterdir()}
    assert left in ({'a', 'other'}, {'other'})


def test_a_drive_or_nothing_is_no_dataset(drive):
    with pytest.raises(DatasetError, match='is a single drive'):
        repair(drive)
    with pytest.raises(DatasetError, match='does not exist'):
        repair(drive / 'nothing')


def test_index_of_another_format_is_a_problem_not_a_crash(drive):
    (drive / 'front/frames.jsonl').write_text(json.dumps({'stamp': 1}) + '\n{}\n')
    assert 'line 1 is not a frame' in repair(drive.parent).problems[0]


def everything(folder: Path) -> dict[Path, bytes | None]:
    """Return all paths below a folder with the files' content."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob('*'))
    }


def test_folders_of_others_beside_drives_stay(drive):
    for name in ('lost+found', 'Desktop', 'Music/image', 'notes/segment'):
        (drive.parent / name).mkdir(parents=True)
    (drive.parent / 'notes/segment/1.png').write_bytes(b'mine')
    (drive.parent / 'notes/read.me').write_text('mine')
    (drive.parent / 'linked').symlink_to(drive.parent / 'lost+found')
    before = everything(drive.parent)
    assert repair(drive.parent).repaired == []
    assert everything(drive.parent) == before


@pytest.mark.parametrize('content', ['image/1.jpg', 'Desktop/', 'image/', 'drive.json/'])
def test_a_folder_without_a_drive_is_refused_untouched(tmp_path, content):
    path = tmp_path / 'home' / 'sub' / content
    path.parent.mkdir(parents=True)
    path.mkdir() if content.endswith('/') else path.write_bytes(b'x')
    (tmp_path / 'home' / 'Templates').mkdir()
    before = everything(tmp_path)
    if content != 'drive.json/':
        result = CliRunner().invoke(cli.app, ['repair', str(tmp_path / 'home')])
        assert result.exit_code == 1
        assert 'holds no drive' in result.stderr
    else:
        repair(tmp_path / 'home')
    assert everything(tmp_path) == before


def test_files_of_others_in_a_drives_own_folders_stay(drive):
    kept = [
        'front/image/notes.txt',
        'front/image/thumbs/1.jpg',
        'front/segment/1 (copy).png',
        'front/image/IMG_4.jpg',
        'proposal/notes.npz',
        'holiday/image/1.jpg',
    ]
    for name in kept:
        (drive / name).parent.mkdir(exist_ok=True, parents=True)
        (drive / name).write_bytes(b'mine')
    (drive / 'front/image/9.jpg').write_bytes(b'of no frame')
    assert repair(drive.parent).repaired == [
        'a/front: removed 1 files without a frame from image, 11 bytes'
    ]
    assert all((drive / name).read_bytes() == b'mine' for name in kept)


@pytest.mark.parametrize(
    'name', ['front/image', 'proposal', 'front/pseudo_label', 'front/frames.jsonl', 'front', '']
)
def test_links_are_refused_before_anything_is_touched(drive, name, tmp_path_factory):
    """A symbolic link to a drive, folder or file is refused; its target stays unchanged."""
    (drive / 'front/pseudo_label').mkdir()
    (drive / 'front/image/4.jpg').write_bytes(b'would go')
    with (drive / 'front/frames.jsonl').open('a') as file:
        file.write('{"torn')
    with DriveWriter(drive.parent / 'b', INFO) as writer:
        writer.add(frame(1))
    (drive.parent / 'b/front/segment/7.png').write_bytes(b'goes')
    elsewhere = tmp_path_factory.mktemp('elsewhere') / 'part'
    (drive / name).rename(elsewhere)
    (drive / name).symlink_to(elsewhere)
    before = everything(elsewhere.parent), everything(drive)
    report = repair(drive.parent)
    assert 'is a link' in report.problems[0]
    assert report.repaired == ['b/front: removed 1 files without a frame from segment, 4 bytes']
    with pytest.raises(DatasetError, match='is a link'):
        remove_drive(drive)
    with pytest.raises(DatasetError, match='is a link'):
        DriveWriter(drive, INFO, resume=True)
    assert (everything(elsewhere.parent), everything(drive)) == before


def test_removing_a_drive_leaves_what_others_put_there(drive):
    (drive / 'notes.txt').write_text('mine')
    (drive / '.notes.txt.x7_k2m1q').write_text('mine')
    (drive / 'front/image/photo').mkdir()
    # Of a killed process.
    for name in ('.drive.json.x7_k2m1q', 'front/.frames.jsonl.x7_k2m1q'):
        (drive / name).write_text('{')
    remove_drive(drive)
    left = everything(drive.parent / 'a.removing')
    names = ['.notes.txt.x7_k2m1q', 'front', 'image', 'photo', 'notes.txt']
    assert [path.name for path in left] == names


def test_drives_of_runs_without_a_frame_go(drive):
    DriveWriter(drive.parent / 'b', INFO).close()
    DriveWriter(drive.parent / 'kept', INFO).close()
    (drive.parent / 'kept/protected').touch()
    report = repair(drive.parent)
    assert report.repaired == ['b: removed, it had no frames']
    assert (report.drives, report.frames) == (2, 3)
    assert sorted(path.name for path in drive.parent.iterdir()) == ['a', 'kept']


def lose_index(drive):
    (drive / 'front/frames.jsonl').unlink()


def empty_index(drive):
    (drive / 'front/frames.jsonl').write_bytes(b'')


def lose_folder(drive):
    (drive / 'front/segment').rename(drive / 'segment of mine')


def lose_files(drive):
    for path in (drive / 'proposal').iterdir():
        path.unlink()


def lose_proposals(drive):
    (drive / 'proposal').rename(drive / 'proposals of mine')


def damage_description(drive):
    (drive / 'drive.json').write_bytes(b'')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lose_index, 'frames.jsonl is missing'),
        (empty_index, '5 complete frames are not in frames.jsonl'),
        (lose_folder, 'segment/ is missing'),
        (lose_files, 'the files of 5 are missing'),
        (damage_description, 'drive.json is damaged'),
        (lose_proposals, 'proposal/ is missing'),
    ],
)
def test_what_no_crash_takes_is_left_for_a_person(drive, damage, message):
    with DriveWriter(drive, INFO, resume=True) as writer:
        writer.add(frame(4))
        writer.add(frame(5))
    damage(drive)
    before = everything(drive.parent)
    report = repair(drive.parent)
    assert message in report.problems[0]
    assert report.repaired == []
    assert everything(drive.parent) == before


def test_one_drive_that_cannot_be_repaired_does_not_keep_the_others(drive):
    (drive / 'front/frames.jsonl').write_text('rubbish\n{}\n')
    with DriveWriter(drive.parent / 'b', INFO) as writer:
        writer.add(frame(1))
    (drive.parent / 'b/front/image/2.jpg').write_bytes(b'x')
    result = CliRunner().invoke(cli.app, ['repair', str(drive.parent)])
    assert result.exit_code == 1
    assert 'b/front: removed 1 files without a frame' in result.stdout
    assert 'not changed' in result.stderr


@pytest.fixture
def rig(tmp_path) -> Path:
    """Return a drive of two cameras: front has frames of five sweeps, left of the last three."""
    with DriveWriter(tmp_path / 'a', RIG) as writer:
        for sweep in (1, 2, 3, 4, 5):
            writer.add(frame(10 * sweep, 'front', sweep))
            if sweep > 2:
                writer.add(frame(10 * sweep, 'left', sweep))
    return tmp_path / 'a'


def test_proposals_of_no_frame_go_and_those_of_one_camera_alone_stay(rig):
    (rig / 'proposal/9.npz').write_bytes(b'12345')
    (rig / 'proposal/10.npz.tmp').write_bytes(b'')
    report = repair(rig.parent)
    assert report.repaired == ['a: removed 2 files without a frame from proposal, 5 bytes']
    assert report.frames == 8
    assert len(list((rig / 'proposal').iterdir())) == 5


def test_a_sweep_that_is_lost_takes_its_frames_of_all_cameras(rig):
    (rig / 'proposal/4.npz').unlink()
    assert repair(rig.parent).problems == []
    cameras = Drive(rig).cameras
    assert [record.stamp_ns for record in cameras['front']] == [10, 20, 30, 50]
    assert [record.stamp_ns for record in cameras['left']] == [30, 50]


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (
            lambda left: (left / 'frames.jsonl').write_text('rubbish\n{}\n'),
            'line 1 is not a frame',
        ),
        (lambda left: (left / 'frames.jsonl').unlink(), 'frames.jsonl is missing'),
        (lambda left: left.rename(left.with_name('left of mine')), 'left is missing'),
        (lambda left: (left / 'image').rename(left / 'mine'), 'image/ is missing'),
    ],
)
def test_a_camera_that_is_damaged_costs_only_itself(rig, damage, message):
    (rig / 'front/image/60.jpg').write_bytes(b'x')
    (rig / 'proposal/9.npz').write_bytes(b'x')
    damage(rig / 'left')
    before = everything(rig)
    report = repair(rig.parent)
    assert message in report.problems[0]
    assert report.repaired == ['a/front: removed 1 files without a frame from image, 1 bytes']
    assert (report.drives, report.frames) == (1, 5)
    del before[rig / 'front/image/60.jpg']
    # The damaged camera may refer to any proposals, so that none is removed.
    assert everything(rig) == before
    if message != 'image/ is missing':
        assert list(Drive(rig).cameras) == ['front']
    assert len(Drive(rig).cameras['front']) == 5


def test_a_camera_that_drive_json_does_not_name_is_told_and_left(rig):
    (rig / 'drive.json').write_text(json.dumps(INFO))
    report = repair(rig.parent)
    assert 'has no camera left' in report.problems[0]
    assert (rig / 'left/image/30.jpg').exists()
    assert list(Drive(rig).cameras) == ['front']


def test_a_rig_is_removed_whole_and_locked_whole(rig):
    with DriveWriter(rig, RIG, resume=True):
        with pytest.raises(DatasetError, match='another process is writing'):
            remove_drive(rig)
        assert 'another process is writing' in repair(rig.parent).problems[0]
    remove_drive(rig)
    assert list(rig.parent.iterdir()) == []
