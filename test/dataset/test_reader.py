"""Reading a dataset, and the errors if it is damaged or is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError


@pytest.fixture
def dataset(tmp_path):
    image = np.full((8, 10, 3), (10, 20, 200), np.uint8)
    for drive in ('monday', 'friday'):
        with DriveWriter(tmp_path / drive, {'cameras': {'front': {}}, 'source': drive}) as writer:
            writer.add(
                Frame(
                    camera='front',
                    stamp_ns=7,
                    image=cv2.imencode('.png', image)[1].tobytes(),
                    image_suffix='.png',
                    segment=np.ones((4, 5), np.uint16),
                    sweep=SweepRecord(6, {name: np.ones(2, np.int32) for name in REQUIRED}),
                    record={},
                )
            )
    return tmp_path


def test_drives_and_frames(dataset):
    drives = Dataset(dataset).drives
    assert [drive.name for drive in drives] == ['friday', 'monday']
    assert drives[0].info['source'] == 'friday'
    (frame,) = drives[0].frames
    assert frame.image().shape == (8, 10, 3)
    assert tuple(frame.image()[0, 0]) == (10, 20, 200)
    assert frame.segment().dtype == np.uint16
    assert set(frame.proposals()) == {'id', 'kind', 'points'}
    label = np.full((4, 5), 255, np.uint8)
    frame.pseudo_label_path.parent.mkdir()
    cv2.imwrite(str(frame.pseudo_label_path), label)
    np.testing.assert_array_equal(frame.pseudo_label(), label)


def test_torn_last_line_is_ignored_and_reported(dataset, caplog):
    path = dataset / 'monday' / 'front' / 'frames.jsonl'
    path.write_bytes(path.read_bytes() + b'{"stamp_ns": 8, "ima')
    assert [frame.stamp_ns for frame in Drive(dataset / 'monday').frames] == [7]
    assert 'last line is incomplete' in caplog.text


def read_everything(path) -> None:
    for frame in Drive(path).frames:
        frame.segment()
        frame.proposals()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda d: (d / 'front/segment/7.png').unlink(), 'No such file'),
        (lambda d: (d / 'front/segment/7.png').write_bytes(b''), 'is empty'),
        (
            lambda d: cv2.imwrite(str(d / 'front/segment/7.png'), np.zeros((4, 5), np.uint8)),
            'uint16',
        ),
        (lambda d: (d / 'proposal/6.npz').write_bytes(b'PK'), 'holds no proposals'),
        (lambda d: (d / 'front/frames.jsonl').unlink(), 'cannot read'),
        (
            lambda d: (d / 'front/frames.jsonl').write_text('{"stamp_ns": 7}\n'),
            "lacks 'sweep_stamp_ns'",
        ),
        (lambda d: (d / 'drive.json').write_text('{'), 'is not valid JSON'),
        (lambda d: (d / 'drive.json').write_text('[]'), 'not a JSON object'),
        (lambda d: (d / 'drive.json').write_text('{}'), 'extract it again'),
        (lambda d: (d / 'drive.json').write_text('{"cameras": {"..": {}}}'), 'not a valid'),
    ],
)
def test_damage_is_one_line_that_names_the_file(dataset, damage, message):
    damage(dataset / 'monday')
    with pytest.raises(DatasetError, match=message) as error:
        read_everything(dataset / 'monday')
    assert str(dataset) in str(error.value)
    assert '\n' not in str(error.value)


def test_what_is_no_dataset_is_said(dataset, tmp_path):
    with pytest.raises(DatasetError, match='does not exist'):
        Dataset(tmp_path / 'none')
    with pytest.raises(DatasetError, match='is a single drive; give its parent'):
        Dataset(dataset / 'monday')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match='not a dataset'):
        Dataset(tmp_path / 'empty')
