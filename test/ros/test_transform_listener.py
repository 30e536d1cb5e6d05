"""Extrinsics and motion from messages and files, and hints on clocks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from drive_segment_ros.errors import CalibrationError, ParameterError
from drive_segment_ros.perception.calibration import save_calibration
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros import transform_listener, transform_topics
from drive_segment_ros.ros.transform_listener import TransformListener, explain_clock

S = 1_000_000_000


@pytest.fixture
def node(ros_domain, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.qos._LOOK_PERIOD_S', 0.05)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('node', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def transform(parent: str, child: str, x: float, now: float | None = None) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp.sec = int(time.time() if now is None else now)
    message.transform.translation.x = x
    return message


def hear(listener: TransformListener, *transforms: TransformStamped) -> None:
    for message in transforms:
        listener.set_transform(message)


def odometry(x: float, sec: int) -> Odometry:
    message = Odometry(child_frame_id='base_link')
    message.header.frame_id = 'odom'
    message.header.stamp.sec = sec
    message.pose.pose.position.x = x
    message.pose.pose.orientation.w = 1.0
    return message


def test_odometry_over_dds_becomes_motion(node, monkeypatch):
    trajectory = Trajectory()
    monkeypatch.setattr(transform_listener, '_FAR_S', 60.0)
    listener = TransformListener(node, TransformTree(), trajectory, motion_source='odometry')
    assert listener.motion_source == 'odometry'
    publisher = node.create_publisher(Odometry, 'odom', 10)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    now = int(time.time())
    end = time.monotonic() + 30
    while not trajectory.covers(now * S, (now + 1) * S) and time.monotonic() < end:
        publisher.publish(odometry(1.0, now))
        publisher.publish(odometry(2.0, now + 1))
        executor.spin_once(timeout_sec=0.1)
    assert trajectory.pose(now * S + S // 2)[0, 3] == pytest.approx(1.5)
    assert listener.problem == ''
    listener.destroy()
    assert node.count_subscribers('odom') == 0
    executor.shutdown()


def test_tf_is_split_into_motion_and_extrinsics(node, monkeypatch):
    # Any message class does for subscribing; what it holds comes from the test.
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    tree, trajectory = TransformTree(), Trajectory()
    listener = TransformListener(node, tree, trajectory)
    assert listener.motion_source == 'tf'
    assert node.count_subscribers('/tf') == node.count_subscribers('/tf_static') == 1
    (info,) = node.get_subscriptions_info_by_topic('/tf_static')
    assert info.qos_profile.durability.name == 'TRANSIENT_LOCAL'
    now = int(time.time())
    hear(
        listener,
        transform('odom', 'base_link', 3.0, now),
        transform('base_link', 'lidar', 1.0),
        transform('odom', 'base_link', 4.0, now + 1),
    )
    assert len(trajectory) == 2
    assert tree.lookup('base_link', 'lidar')[0, 3] == 1.0
    assert 'odom' not in tree.frames


def test_a_trailer_does_not_move_the_vehicle(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    trajectory, now = Trajectory(), int(time.time())
    listener = TransformListener(node, TransformTree(), trajectory)
    for second, child, x in (
        (0, 'trailer', 80.0),
        (1, 'base_link', 3.0),
        (1, 'trailer', 82.0),
        (2, 'base_link', 5.0),
    ):
        message = transform('odom', child, x, now + second)
        listener.set_transform(message)
    assert len(trajectory) == 2
    assert trajectory.pose((now + 1) * S + S // 2)[0, 3] == 4.0


def test_auto_takes_odometry_as_soon_as_there_is_one(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    trajectory, now = Trajectory(), int(time.time())
    listener = TransformListener(node, TransformTree(), trajectory)
    assert not listener.expects_motion()
    publisher = node.create_publisher(Odometry, 'odom', 10)
    deadline = time.monotonic() + 10
    while not listener.expects_motion() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listener.expects_motion()

    def hear(x: float, second: int) -> None:
        message = transform('odom', 'base_link', x, now + second)
        listener.set_transform(message)

    hear(3.0, 0)
    assert (listener.motion_source, len(trajectory)) == ('tf', 1)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    while listener.motion_source == 'tf' and time.monotonic() < deadline:
        publisher.publish(odometry(1.0, now))
        executor.spin_once(timeout_sec=0.1)
    hear(3.0, 1)
    assert (listener.motion_source, len(trajectory)) == ('odometry', 1)
    assert trajectory.pose(now * S)[0, 3] == 1.0
    executor.shutdown()


@pytest.mark.parametrize('source', ['tf', 'none'])
def test_what_is_not_auto_does_not_hear_odometry(node, monkeypatch, source):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    TransformListener(node, TransformTree(), Trajectory(), motion_source=source)
    TransformListener(node, TransformTree(), None)
    assert node.count_subscribers('odom') == 0


def test_motion_has_one_source(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    trajectory = Trajectory()
    listener = TransformListener(node, TransformTree(), trajectory, motion_source='odometry')
    message = transform('odom', 'base_link', 3.0)
    listener.set_transform(message)
    assert len(trajectory) == 0


def test_without_tf2_msgs_auto_takes_odometry_and_tf_is_refused(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: None)
    assert TransformListener(node, TransformTree(), Trajectory()).motion_source == 'odometry'
    with pytest.raises(ParameterError, match='tf2_msgs is not installed'):
        TransformListener(node, TransformTree(), Trajectory(), motion_source='tf')
    with pytest.raises(ParameterError, match='choose one of'):
        TransformListener(node, TransformTree(), Trajectory(), motion_source='imu')


@pytest.fixture
def calibration_file(tmp_path) -> Path:
    """A file that places `lidar` 1.5 m before `base_link`."""
    written = TransformTree()
    T = np.eye(4)
    T[0, 3] = 1.5
    written.set('base_link', 'lidar', T)
    save_calibration(tmp_path / 'calibration.yaml', written, {})
    return tmp_path / 'calibration.yaml'


@pytest.mark.parametrize(
    'heard', [('base_link', 'lidar'), ('lidar', 'base_link'), ('mast', 'lidar')]
)
def test_what_the_file_places_is_not_moved_by_what_is_heard(node, calibration_file, heard):
    tree = TransformTree()
    listener = TransformListener(node, tree, None, calibration_file=calibration_file)
    messages = [transform(*heard, 9.0), transform('lidar', 'camera', 0.5)]
    hear(listener, *messages)
    assert tree.lookup('base_link', 'lidar')[0, 3] == 1.5
    assert tree.lookup('base_link', 'camera')[0, 3] == 2.0


def test_calibration_file_fills_the_tree(node, calibration_file):
    tree = TransformTree()
    listener = TransformListener(node, tree, None, calibration_file=calibration_file)
    assert tree.lookup('base_link', 'lidar')[0, 3] == 1.5
    assert listener.motion_source == 'none'
    with pytest.raises(CalibrationError):
        TransformListener(node, tree, None, calibration_file='missing.yaml')


def test_bad_pose_is_a_problem_not_an_exception(node):
    listener = TransformListener(node, TransformTree(), Trajectory(), motion_source='odometry')
    message = odometry(float('nan'), int(time.time()))
    listener.on_odometry(message)
    assert 'no pose' in listener.problem
    listener.on_odometry(odometry(0.0, int(time.time())))
    assert listener.problem == ''


def test_odometry_that_cannot_be_heard_is_a_problem(node):
    parameter = Parameter('qos_overrides./odom.subscription.reliability', value='reliable')
    node._parameter_overrides[parameter.name] = parameter
    listener = TransformListener(node, TransformTree(), Trajectory(), motion_source='odometry')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_publisher(Odometry, 'odom', qos)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = time.monotonic() + 10
    while not listener.problem and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    assert listener.problem.startswith('odom: QoS keeps out the messages of node')
    executor.shutdown()


def test_recorded_stamps_without_sim_time_give_the_hint(node):
    listener = TransformListener(node, TransformTree(), Trajectory(), motion_source='odometry')
    listener.on_odometry(odometry(0.0, 1_557_539_956))
    assert 'use_sim_time:=true' in listener.problem


NOW = 1_800_000_000 * S


@pytest.mark.parametrize(
    ('stamp', 'now', 'simulated', 'words'),
    [
        (NOW, NOW + 4 * S, False, None),
        (NOW - 6 * S, NOW, False, '6.0 s before this node'),
        (NOW - 86400 * 30 * S, NOW, False, '30 days before'),
        (NOW + 600 * S, NOW, False, '10 min after'),
        (NOW, 0, True, 'nothing publishes /clock'),
        (NOW, NOW - 60 * S, True, 'from the same bag'),
        (0, NOW, False, 'no time stamp'),
    ],
)
def test_clock_hints(stamp, now, simulated, words):
    text = explain_clock('points', stamp, now, simulated)
    assert '\n' not in text
    assert (words in text) if words else text == ''


def test_a_bad_transform_of_another_frame_is_told_until_it_is_right(node):
    tree = TransformTree()
    listener = TransformListener(node, tree, None)
    bad = transform('camera', 'imu', float('nan'))
    links = [bad, transform('base_link', 'lidar', 1.0)]
    for _ in range(2):
        hear(listener, *links)
    assert tree.lookup('base_link', 'lidar')[0, 3] == 1.0
    assert "'imu' to 'camera' is left out" in listener.problem
    assert 'float64' not in listener.problem
    with pytest.raises(CalibrationError, match="'imu' to 'camera' is left out"):
        tree.lookup('lidar', 'imu')
    right = transform('camera', 'imu', 2.0)
    right.transform.rotation.w = 1.0
    listener.set_transform(right)
    assert listener.problem == ''


def test_of_two_odometries_on_one_topic_the_vehicles_is_taken(node):
    trajectory, now = Trajectory(), int(time.time())
    listener = TransformListener(node, TransformTree(), trajectory, motion_source='odometry')
    foreign = odometry(500.0, now)
    foreign.header.frame_id, foreign.child_frame_id = 'camera_odom', 'camera_pose'
    listener.on_odometry(foreign)
    listener.on_odometry(odometry(1.0, now))
    foreign.header.stamp.nanosec = S // 2
    listener.on_odometry(foreign)
    listener.on_odometry(odometry(2.0, now + 1))
    assert len(trajectory) == 2
    assert trajectory.pose(now * S + S // 2)[0, 3] == pytest.approx(1.5)
    assert 'odometry odom -> base_link is taken, odometry camera_odom' in listener.problem


def test_transforms_of_the_vehicle_go_before_a_foreign_odometry(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    trajectory, now = Trajectory(), int(time.time())
    listener = TransformListener(node, TransformTree(), trajectory)
    foreign = odometry(500.0, now)
    foreign.header.frame_id = foreign.child_frame_id = 'camera_odom'
    message = transform('odom', 'base_link', 3.0, now)
    listener.on_odometry(foreign)
    listener.set_transform(message)
    listener.on_odometry(foreign)
    assert listener.motion_source == 'tf'
    assert trajectory.pose(now * S)[0, 3] == 3.0
