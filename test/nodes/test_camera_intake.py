"""CameraIntake: rectification from the remapped image topic, implausible calibrations."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from drive_segment_ros.errors import CalibrationError

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import rclpy

from drive_segment_ros.nodes.camera_intake import CameraIntake

K = np.array([[700.0, 0.0, 640.0], [0.0, 700.0, 360.0], [0.0, 0.0, 1.0]])


def info(scale=1.0, d=(-0.2, 0.05, 0.0, 0.0, 0.0)):
    k = np.diag([scale, scale, 1.0]) @ K
    return SimpleNamespace(
        header=SimpleNamespace(frame_id='camera'),
        width=1280,
        height=720,
        distortion_model='plumb_bob',
        d=np.array(d),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([K, np.zeros(3)]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )


@pytest.fixture
def node(ros_domain):
    context = rclpy.Context()
    remap = ['--ros-args', '-r', 'image_raw:=/front/image_rect_color']
    rclpy.init(context=context, args=remap)
    node = rclpy.create_node('node', context=context, namespace='cam')
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ('topic', 'setting', 'rectified'),
    [
        (None, 'auto', True),
        ('image_raw', 'auto', True),
        # Only `image_raw` is remapped, not this transport.
        ('image_raw/compressed', 'auto', False),
        (None, 'false', False),
        ('image_raw/compressed', 'true', True),
    ],
)
def test_the_remapped_topic_tells_whether_images_are_rectified(node, topic, setting, rectified):
    subscription = None if topic is None else SimpleNamespace(topic=topic)
    images = SimpleNamespace(subscription=subscription)
    intake = CameraIntake(node, setting, lambda: images, 'image_raw')
    assert intake.rectified(info()) is rectified
    # K is not checked for rectified images, which use P.
    intake.look(info(scale=2.0))
    assert ('as if K were for about 2.00 times' in intake.problem) is not rectified


def test_a_problem_ends_with_the_next_calibration(node):
    intake = CameraIntake(node, 'false', lambda: None, 'image_raw')
    intake.look(info(scale=0.5))
    assert '0.50 times' in intake.problem
    intake.look(info())
    assert intake.problem == ''
    empty = info()
    empty.k = np.zeros(9)
    with pytest.raises(CalibrationError, match='all zero'):
        intake.look(empty)
