"""Calibration files: exact round trip, hand-written files and invalid files."""

from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.calibration import load_calibration, save_calibration
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import TransformTree, transform_matrix


def make_camera():
    K = np.array([[1000 / 3, 0, 320.1], [0, 333.3, 240 - 1e-13], [0, 0, 1]])
    return CameraModel(
        width=640,
        height=480,
        K=K,
        D=np.array([0.1, -1e-7, 2 / 7, 0.0]),
        R=np.eye(3),
        P=np.hstack([K, np.zeros((3, 1))]),
        distortion_model='plumb_bob',
        frame_id='camera_optical',
        rectified=True,
    )


def test_what_is_saved_reads_back_to_the_last_bit(tmp_path):
    tree = TransformTree()
    rng = np.random.default_rng(3)
    for child in ('lidar', 'camera', 'imu'):
        tree.set('base_link', child, transform_matrix(rng.normal(size=3), rng.normal(size=4)))
    path = tmp_path / 'calibration.yaml'
    save_calibration(path, tree, {'/camera/front': make_camera()})
    again, cameras = load_calibration(path)
    for (parent, child, T), (parent2, child2, T2) in zip(tree.links, again.links, strict=True):
        assert (parent, child) == (parent2, child2)
        np.testing.assert_array_equal(T, T2)
    assert cameras.keys() == {'/camera/front'}
    assert cameras['/camera/front'].to_dict() == make_camera().to_dict()


def test_a_hand_written_quaternion(tmp_path):
    path = tmp_path / 'calibration.yaml'
    path.write_text(
        'transforms:\n'
        '- {parent: base_link, child: lidar, translation: [1, 0, 2], rotation: [0, 0, 1, 1]}\n'
    )
    tree, cameras = load_calibration(path)
    expected = [[0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
    np.testing.assert_allclose(tree.lookup('base_link', 'lidar'), expected, atol=1e-15)
    assert cameras == {}


LINK = 'transforms:\n- {parent: a, child: b, translation: [0, 0, 0], rotation: %s}\n'


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('transforms: [', 'is not valid YAML'),
        ('hello', 'neither transforms nor cameras'),
        ('', 'neither transforms nor cameras'),
        ('transforms: 3', 'an entry is malformed'),
        ('transforms: [{parent: a}]', "KeyError('child')"),
        (LINK % '[0, 0, 0, 0]', 'not a rigid transform'),
        (LINK % '[0, 0, 1]', 'an entry is malformed'),
        (LINK % '[[1, 0, 0], [0, 1, 0], [0, 0, 2]]', 'not a rotation'),
        (LINK % '[[1, 0, 0], [0, 1, 0], [0, 0, -1]]', 'not a rotation'),
        (LINK % '[[1, 0, 0], [0, 1, 0], [0, 0, .nan]]', 'not a rotation'),
        ('cameras: {front: {width: 3}}', 'missing or unknown entries'),
        ('cameras: {front: 3}', 'an entry is malformed'),
    ],
)
def test_files_that_are_no_calibration(tmp_path, text, says):
    path = tmp_path / 'calibration.yaml'
    path.write_text(text)
    with pytest.raises(CalibrationError) as caught:
        load_calibration(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_missing_file_and_a_missing_folder(tmp_path):
    with pytest.raises(CalibrationError, match=r'cannot read calibration .*No such file'):
        load_calibration(tmp_path / 'none.yaml')
    with pytest.raises(CalibrationError, match=r'cannot write calibration .*No such file'):
        save_calibration(tmp_path / 'none' / 'a.yaml', TransformTree(), {})
