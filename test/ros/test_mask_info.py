"""The camera_info of a mask, derived from that of its image."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.ros.mask_info import mask_camera_info


@pytest.fixture
def camera_info() -> CameraInfo:
    """Return a 200 x 100 px camera with distortion and a rectification that turns by 90 deg."""
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    info = CameraInfo(width=200, height=100, distortion_model='plumb_bob')
    info.header.frame_id = 'camera'
    info.d = [-0.2, 0.1, 0.0, 0.0, 0.0]
    info.k = [150.0, 0.0, 99.5, 0.0, 150.0, 49.5, 0.0, 0.0, 1.0]
    info.r = turn.ravel()
    info.p = [120.0, 0.0, 89.5, 0.0, 0.0, 120.0, 45.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def test_a_mask_of_rectified_images_has_no_distortion(camera_info):
    message = mask_camera_info(camera_info, Header(), (100, 200), (50, 100), rectified=True)
    assert not any(message.d)
    assert message.distortion_model == 'plumb_bob'
    np.testing.assert_allclose(message.k, [60, 0, 44.5, 0, 60, 22.5, 0, 0, 1])
    np.testing.assert_allclose(np.reshape(message.p, (3, 4))[:, :3], np.reshape(message.k, (3, 3)))
    # With R and P, a point projects to the same place as in the image of twice the size.
    mask = CameraModel.from_camera_info(message, rectified=True)
    image = CameraModel.from_camera_info(camera_info, rectified=True)
    point = np.array([[0.3, 0.1, 5.0]])
    np.testing.assert_allclose(mask.project(point)[0] + 0.5, (image.project(point)[0] + 0.5) / 2)


def test_a_mask_of_raw_images_has_their_distortion(camera_info):
    message = mask_camera_info(camera_info, Header(), (100, 200), (50, 100), rectified=False)
    np.testing.assert_allclose(message.d, camera_info.d)
    np.testing.assert_allclose(message.k, [75, 0, 49.5, 0, 75, 24.5, 0, 0, 1])
