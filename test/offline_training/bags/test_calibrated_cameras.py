"""A camera without intrinsics or extrinsics is skipped; the other cameras are kept."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags import vehicle
from offline_training.bags.calibrated_cameras import CalibratedCameras, find_cameras

CAMERAS = ('/camera/left', '/camera/right', '/rear')


def rig(
    reader: BagReader, *wanted: str, tree: TransformTree | None = None, **file
) -> CalibratedCameras:
    tree = tree or vehicle.static_transforms(reader)[0]
    return find_cameras(reader, wanted, 'lidar', tree, file, 'auto', 'base_link', 'odom')


def without_lens(topic, message):
    if topic == '/camera/left/camera_info':
        message.k[:] = 0


def without_place(topic, message):
    if topic.startswith('/rear'):
        message.header.frame_id = 'nowhere'


def test_all_cameras_are_there(make_bag, caplog):
    with BagReader(make_bag(cameras=CAMERAS, count=2)) as reader:
        found = rig(reader)
    assert [c.info_topic for c in found.cameras.values()] == [f'{c}/camera_info' for c in CAMERAS]
    assert list(found.cameras) == ['left', 'right', 'rear']
    assert found.cameras['rear'].model.frame_id == 'optical2'
    np.testing.assert_allclose(found.T_camera_lidar['rear'][:3, 3], [0.0, -0.2, -0.2], atol=1e-9)
    assert not caplog.records


@pytest.mark.parametrize(
    ('change', 'name', 'why'),
    [
        (without_lens, 'left', 'not calibrated: K is all zero'),
        (without_place, 'rear', "/rear/image_raw/compressed: no transform from 'lidar' to 'nowh"),
    ],
)
def test_a_camera_that_cannot_be_used_is_left_out(make_bag, caplog, change, name, why):
    with BagReader(make_bag(cameras=CAMERAS, count=2, change=change)) as reader:
        found = rig(reader)
        (record,) = caplog.records
        with pytest.raises(CalibrationError, match=re.escape(why)):
            rig(reader, name)
    assert set(found.cameras) == {'left', 'right', 'rear'} - {name}
    assert found.T_camera_lidar.keys() == found.cameras.keys()
    assert record.getMessage().startswith(f'camera {name} is skipped: ')
    assert why in record.getMessage()


def test_no_camera_info_is_an_error_unless_a_file_has_it(make_bag):
    with BagReader(make_bag(cameras=CAMERAS, count=1)) as reader:
        model = rig(reader).cameras['left'].model
    with BagReader(make_bag('bare', cameras=CAMERAS, count=1, info=False)) as reader:
        with pytest.raises(CalibrationError, match='no camera_info for /camera/left/image_raw'):
            rig(reader)
        wide = dataclasses.replace(model, K=model.K * [[0.5], [0.5], [1.0]])
        found = rig(reader, **{'/camera/left/image_raw/compressed': wide, 'optical1': model})
    assert list(found.cameras) == ['left', 'right']
    assert found.cameras['left'].model.K[0, 0] == 50.0
    assert found.cameras['left'].info_topic == ''
    assert found.cameras['right'].model.frame_id == 'optical1'


def test_a_camera_that_nothing_places_makes_no_frame_move(make_bag, caplog):
    """A camera without a transform does not make unrelated frames in /tf count as moving."""
    with BagReader(
        make_bag(cameras=CAMERAS, odometry_frame='map', trailer=True, change=without_place)
    ) as reader:
        found = rig(reader)
    assert found.tf.moving == frozenset()
    assert 'rear' not in found.cameras
