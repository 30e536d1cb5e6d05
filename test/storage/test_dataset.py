"""Datasets in object storage read like local ones, with few requests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.outputs import is_taken, refuse_existing
from drive_segment_ros.storage import location, write_files, write_whole
from offline_training.common.files import (
    files_below,
    read_json,
    read_object,
    write_json,
    write_png,
)

FRAMES = 12


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """Return a local dataset of two drives with two cameras each."""
    for drive in ('monday', 'friday'):
        cameras = {'cameras': {'front': {}, 'rear': {}}}
        with DriveWriter(tmp_path / 'set' / drive, cameras) as writer:
            for stamp in range(FRAMES):
                for camera in ('front', 'rear'):
                    image = np.full((8, 10, 3), (10, stamp, 200), np.uint8)
                    writer.add(
                        Frame(
                            camera=camera,
                            stamp_ns=stamp,
                            image=cv2.imencode('.png', image)[1].tobytes(),
                            image_suffix='.png',
                            segment=np.ones((4, 5), np.uint16),
                            sweep=SweepRecord(stamp, {n: np.ones(2, np.int32) for n in REQUIRED}),
                            record={},
                        )
                    )
    return tmp_path / 'set'


@pytest.fixture
def remote(local: Path, bucket: Path, s3_server) -> Path:
    """Return the dataset `local`, copied to a bucket."""
    files = [path for path in local.rglob('*') if path.is_file()]
    write_files(bucket / 'set', {str(p.relative_to(local)): p.read_bytes() for p in files})
    s3_server.reset()
    return bucket / 'set'


def test_it_is_the_local_one(local: Path, remote: Path) -> None:
    here, there = Dataset(local), Dataset(remote)
    assert [drive.name for drive in there.drives] == ['friday', 'monday']
    assert [drive.info for drive in there.drives] == [drive.info for drive in here.drives]
    for mine, other in zip(here.drives, there.drives, strict=True):
        assert len(mine.frames) == len(other.frames) == 2 * FRAMES
        for one, two in zip(mine.frames, other.frames, strict=True):
            assert one.record == two.record
            np.testing.assert_array_equal(one.image(), two.image())
            np.testing.assert_array_equal(one.segment(), two.segment())
            assert one.proposals().keys() == two.proposals().keys()
            with pytest.raises(DatasetError, match=r'cannot read s3://.*: No such file'):
                two.pseudo_label()


def test_finding_all_frames_asks_for_descriptions_and_indexes_only(
    remote: Path, s3_server
) -> None:
    frames = [frame for drive in Dataset(remote).drives for frame in drive.frames]
    assert len(frames) == 4 * FRAMES
    # A listing, drive.json of the folder itself and of its two drives, four indexes.
    assert len(s3_server.asked) == 1 + 3 + 4

    s3_server.reset()
    frames[0].image()
    assert [method for method, _ in s3_server.asked] == ['GET']


def test_what_is_wrong_is_said_as_of_a_local_one(remote: Path) -> None:
    with pytest.raises(DatasetError, match=r'set/monday is a single drive; give its parent'):
        Dataset(remote / 'monday')
    with pytest.raises(DatasetError, match=r'none does not exist; give a folder of drives'):
        Dataset(remote / 'none')
    with pytest.raises(DatasetError, match=r'is not a drive: drive\.json: No such file'):
        Drive(remote / 'none')
    with pytest.raises(DatasetError, match='given twice'):
        Dataset(remote, location(str(remote)))
    with pytest.raises(DatasetError, match='cannot read s3://no-such/set: there is no such buck'):
        Dataset('s3://no-such/set')


def test_a_camera_without_its_index_is_left_out(
    remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (remote / 'monday/rear/frames.jsonl').unlink()
    write_whole(remote / 'friday/rear/frames.jsonl', b'{"stamp_ns": 8, "ima')
    drives = {drive.name: drive for drive in Dataset(remote).drives}
    assert list(drives['monday'].cameras) == ['front']
    assert drives['friday'].cameras['rear'] == []
    assert 'this camera is skipped' in caplog.text
    assert 'last line is incomplete' in caplog.text


def test_the_recorder_keeps_to_local_folders(bucket: Path) -> None:
    with pytest.raises(DatasetError, match=r's3://.* is not on this machine; .*copy it after'):
        DriveWriter(bucket / 'set/monday', {'cameras': {}})


def test_files_of_the_workstation(bucket: Path) -> None:
    write_json(bucket / 'run/run.json', {'a': 1})
    write_png(bucket / 'run/label/1.png', np.zeros((2, 3), np.uint8))
    assert read_json(bucket / 'run/run.json') == {'a': 1}
    assert files_below(bucket / 'run') == [
        bucket / 'run/label/1.png',
        bucket / 'run/run.json',
    ]
    with pytest.raises(DatasetError, match=r'cannot read s3://.*none.json: No such file'):
        read_object(bucket / 'none.json')
    with pytest.raises(DatasetError, match=r'cannot write s3://no-such/x\.json: there is no such'):
        write_json(location('s3://no-such/x.json'), {})


def test_what_is_there_is_not_overwritten(bucket: Path) -> None:
    write_whole(bucket / 'run/run.json', b'{}')
    assert is_taken(bucket / 'run')
    assert is_taken(bucket / 'run/run.json')
    assert not is_taken(bucket / 'ru')
    with pytest.raises(Exception, match=r'run exists and is not overwritten'):
        refuse_existing(bucket / 'run', overwrite=False)
    refuse_existing(bucket / 'run', overwrite=True)
