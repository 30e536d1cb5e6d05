"""Selection of camera topics; topics of our own nodes are excluded."""

from __future__ import annotations

import pytest

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags.sensors import choose_camera, choose_cameras, is_own

CAMERAS = ('/camera/left', '/camera/right', '/rear')
LEFT, RIGHT, REAR = (f'{camera}/image_raw/compressed' for camera in CAMERAS)


@pytest.mark.parametrize(
    ('wanted', 'chosen'),
    [
        ([], [LEFT, RIGHT, REAR]),
        (['left'], [LEFT]),
        (['rear', 'left', LEFT], [LEFT, REAR]),
        ([RIGHT], [RIGHT]),
        (['/camera'], [LEFT, RIGHT]),
        (['camera/right/'], [RIGHT]),
    ],
)
def test_cameras_are_chosen_by_topic_namespace_or_name(make_bag, wanted, chosen):
    with BagReader(make_bag(cameras=CAMERAS, count=1)) as reader:
        assert [topic.name for topic in choose_cameras(reader, wanted)] == chosen


def test_what_cannot_be_chosen_is_said(make_bag):
    with BagReader(make_bag(cameras=CAMERAS, count=1)) as reader:
        with pytest.raises(BagError, match=rf'has no camera top; it has left \({LEFT}\), right'):
            choose_cameras(reader, ['left', 'top'])
        with pytest.raises(BagError, match='has 2 cameras: left, right; choose one with --camera'):
            choose_camera(reader, '/camera')
    with (
        BagReader(make_bag('blind', cameras=(), count=1)) as reader,
        pytest.raises(BagError, match='has no camera images'),
    ):
        choose_cameras(reader, ['left'])


@pytest.mark.parametrize(
    ('topic', 'own'),
    [
        ('/camera/front/segmentation/label/image_raw', True),
        ('/camera/front/segmentation/overlay/image_raw/compressed', True),
        ('/proposals/points', True),
        ('/proposals/image_raw/compressed', True),
        ('/camera/front/image_raw', False),
        ('/segmentation/camera/image_raw', False),
        ('/lidar/points', False),
    ],
)
def test_what_our_nodes_publish_is_no_sensor(topic, own):
    assert is_own(topic) == own
