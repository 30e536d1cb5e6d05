"""`inspect` and `extract` agree on calibration, transforms and odometry as published."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.perception.cameras import CameraModel
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect

NAN = float('nan')
# As in conftest.py.
PERIOD = 100_000_000
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def problems(report) -> str:
    return '\n'.join(f'{p.what} -> {p.fix}' for p in report.problems)


def extracted(bag: Path, dataset: Path, rectified: str = 'auto', **options: Any) -> Drive:
    params = dataclasses.replace(FrameParameters(), rectified=rectified)
    extract([bag], dataset, params, ExtractOptions(workers=1, **options))
    return Drive(dataset / bag.name)


def camera_of(drive: Drive) -> CameraModel:
    (camera,) = drive.info['cameras'].values()
    return CameraModel.from_dict(camera['model'])


def of_topic(ending: str, change: Callable[[Any], None]) -> Callable[[str, Any], None]:
    """Return a function that applies `change` to the messages of topics with this ending."""
    return lambda topic, message: change(message) if topic.endswith(ending) else None


def distorted(info: Any) -> None:
    info.d[:2] = -0.2, 0.05
    info.p[[0, 5]] = 80.0


@pytest.mark.parametrize(
    ('image', 'setting', 'rectified'),
    [
        ('image_rect_color', 'auto', True),
        ('image_rect', 'false', False),
        ('image_raw', 'auto', False),
        ('image_raw', 'true', True),
        ('image_direct', 'auto', False),
    ],
)
def test_rectified_images_are_known_by_one_rule(make_bag, tmp_path, image, setting, rectified):
    bag = make_bag(image_name=image, change=of_topic('camera_info', distorted), count=2)
    assert camera_of(extracted(bag, tmp_path / 'd', setting)).rectified is rectified
    if setting == 'auto':
        (camera,) = inspect(bag).cameras
        assert camera.calibration['rectified'] is rectified


def test_rectified_images_without_p_or_distortion_need_no_p(make_bag, tmp_path):
    bag = make_bag(image_name='image_rect', change=of_topic('camera_info', lambda i: i.p.fill(0)))
    assert problems(inspect(bag)) == ''
    assert camera_of(extracted(bag, tmp_path / 'd')).K[0, 0] == 100.0


def broken(values: str) -> Callable[[Any], None]:
    """Return a function that adds a faulty transform of an IMU to a message of /tf_static."""

    def change(message: Any) -> None:
        item = copy.deepcopy(message.transforms[0])
        item.header.frame_id, item.child_frame_id = 'camera_link', 'imu'
        q, t = item.transform.rotation, item.transform.translation
        if values == 'nan':
            t.x = q.x = q.w = NAN
        elif values == 'zero':
            q.w = 0.0
        elif values == 'itself':
            item.child_frame_id = 'camera_link'
        else:
            q.w = 0.5
        message.transforms.insert(0, item)

    return change


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        (
            'nan',
            "'imu' to 'camera_link' is ignored: not a rigid transform: translation (nan, 0, 1.8)",
        ),
        ('zero', 'quaternion (0, 0, 0, 0)'),
        ('itself', 'needs two different frames'),
        ('long', 'has length 0.5 and is normalised'),
    ],
)
def test_a_bad_transform_of_another_frame_is_named_and_harms_nothing(
    make_bag, tmp_path, caplog, values, says
):
    bag = make_bag(change=of_topic('tf_static', broken(values)), count=2)
    with caplog.at_level(logging.WARNING):
        assert len(extracted(bag, tmp_path / 'd').frames) == 2
    report = inspect(bag)
    assert says in caplog.text
    assert says in problems(report)
    assert 'float64' not in caplog.text + problems(report)
    assert report.pairs[0].transform


def test_a_bad_transform_that_is_needed_is_named_in_the_error(make_bag, tmp_path):
    def change(message: Any) -> None:
        message.transforms[1].transform.translation.x = NAN

    bag = make_bag(change=of_topic('tf_static', change), count=2)
    with pytest.raises(CalibrationError, match="'optical0' to 'lidar' is ignored") as caught:
        extracted(bag, tmp_path / 'd')
    assert 'float64' not in str(caught.value)
    assert "'optical0' to 'lidar' is ignored" in problems(inspect(bag))


def tf_only(pitching: float) -> Callable[[str, Any], None]:
    """Return a function that moves /tf_static to /tf; the camera pitches at `pitching` rad/s."""
    kept: list[Any] = []

    def change(topic: str, message: Any) -> None:
        if topic == '/tf_static':
            kept.extend(message.transforms)
            message.transforms.clear()
        elif topic == '/tf':
            stamp = message.transforms[0].header.stamp
            for item in copy.deepcopy(kept):
                item.header.stamp = stamp
                if item.child_frame_id == 'optical0':
                    angle = pitching * stamp.nanosec * 1e-9
                    turn = Rotation.from_quat(OPTICAL) * Rotation.from_rotvec([angle, 0, 0])
                    q = item.transform.rotation
                    q.x, q.y, q.z, q.w = turn.as_quat().tolist()
                message.transforms.append(item)

    return change


def test_extrinsics_in_tf_only_are_taken(make_bag, tmp_path):
    drive = extracted(make_bag('tf', change=tf_only(0.0)), tmp_path / 'd')
    other = extracted(make_bag('static'), tmp_path / 'd')
    np.testing.assert_array_equal(drive.frames[0].segment(), other.frames[0].segment())
    assert drive.info['cameras'] == other.info['cameras']
    assert drive.info['lidar'] == other.info['lidar']
    assert {frame.record['motion'] for frame in drive.frames} == {'per_point'}
    report = inspect(tmp_path / 'tf')
    assert problems(report) == ''
    assert 'lidar -> optical0 (/tf)' in report.transforms


def test_a_joint_in_tf_is_where_it_is_at_the_time_of_the_frame(make_bag, tmp_path, caplog):
    bag = make_bag(change=tf_only(1.0))
    drive = extracted(bag, tmp_path / 'd')
    assert 'transforms in /tf of optical0 change' in caplog.text
    assert 'transforms in /tf of optical0 change' in problems(inspect(bag))
    # The images are nearly equal, but the camera has pitched by 17 degrees in the last one.
    first, last = drive.frames[0].segment(), drive.frames[-1].segment()
    assert (first != last).mean() > 0.15


BOTH = (
    ('/a_camera/odom', 'camera_odom', 'camera_pose', 30.0),
    ('/odom', 'odom', 'base_link', 1.0),
)


@pytest.mark.parametrize('tf', [False, True])
def test_of_several_odometries_the_vehicle_s_is_taken_and_said(make_bag, tmp_path, caplog, tf):
    bag = make_bag(odometries=BOTH, odometry=tf, count=2)
    drive = extracted(bag, tmp_path / 'd')
    told = (
        'several odometries: /odom: odom -> base_link is used, /a_camera/odom: camera_odom -> '
        'camera_pose ignored; choose one with --odometry'
    )
    assert drive.info['odometry'] == ['/odom']
    assert told in caplog.text
    report = inspect(bag)
    assert report.odometry == '/odom: odom -> base_link'
    assert told in problems(report)


def test_an_odometry_can_be_chosen(make_bag, tmp_path, caplog):
    bag = make_bag(odometries=BOTH, count=2)
    drive = extracted(bag, tmp_path / 'd', odometry='/a_camera/odom')
    assert drive.info['odometry'] == ['/a_camera/odom']
    assert 'several odometries' not in caplog.text
    assert inspect(bag, odometry='/tf').odometry == '/tf: odom -> base_link'
    with pytest.raises(BagError, match='no odometry /nope; of nav_msgs/Odometry it has /a_camera'):
        extracted(bag, tmp_path / 'e', odometry='/nope')


def test_transforms_of_the_vehicle_go_before_a_foreign_odometry(make_bag, tmp_path):
    bag = make_bag(odometries=BOTH[:1], count=2)
    assert extracted(bag, tmp_path / 'd').info['odometry'] == ['/tf']
    assert inspect(bag).odometry == '/tf: odom -> base_link'


def test_two_publishers_on_one_topic_do_not_make_the_vehicle_jump(make_bag, tmp_path):
    alone = extracted(make_bag('alone', odometries=BOTH[1:], odometry=False), tmp_path / 'd')

    def change(topic: str, message: Any) -> None:
        # Every second message is from another publisher: in frame map, 500 m away.
        if topic == '/odom' and message.header.stamp.nanosec // (PERIOD // 2) % 2:
            message.header.frame_id, message.pose.pose.position.x = 'map', 500.0

    both = extracted(
        make_bag('both', odometries=BOTH[1:], odometry=False, change=change), tmp_path / 'd'
    )
    # The last frame is left out: its odometry is from the other publisher.
    for one, other in zip(alone.frames[:-1], both.frames[:-1], strict=True):
        assert (one.segment() != other.segment()).mean() < 0.01
        assert other.record['motion'] == 'per_point'


def test_a_calibration_of_another_resolution_is_told(make_bag, tmp_path, caplog):
    def change(info: Any) -> None:
        info.k[[0, 2, 4, 5]] *= 2

    bag = make_bag(change=of_topic('camera_info', change), count=2)
    told = 'as if K were for about 2.01 times their size'
    assert told in problems(inspect(bag))
    extracted(bag, tmp_path / 'd')
    assert told in caplog.text


@pytest.mark.parametrize(
    ('ending', 'says'),
    [
        (('image_raw/compressed', 'camera_info'), 'frame_id of the images and camera_info is'),
        (('/points',), 'frame_id of the clouds is empty'),
    ],
)
def test_an_empty_frame_is_named_as_such(make_bag, tmp_path, ending, says):
    def change(topic: str, message: Any) -> None:
        if topic.endswith(ending):
            message.header.frame_id = ''

    bag = make_bag(change=change, count=2)
    with pytest.raises(CalibrationError, match=f'{says}.*set it in the parameters of'):
        extracted(bag, tmp_path / 'd')
    assert says in problems(inspect(bag))
