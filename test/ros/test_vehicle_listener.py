"""Extrinsics and motion are received from topics and passed to a frame stream."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from drive_segment_ros.errors import CalibrationError, ParameterError
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros import clock_hint, transform_topics
from drive_segment_ros.ros.vehicle_listener import VehicleListener, motion_kinds

S = 1_000_000_000


@pytest.fixture
def node(ros_domain, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.qos._LOOK_PERIOD_S', 0.05)
    # On a busy machine, a message may arrive seconds after its stamp.
    monkeypatch.setattr(clock_hint, '_FAR_S', 600.0)
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
    message.transform.rotation.w = 1.0
    return message


def hear(listener: VehicleListener, *transforms: TransformStamped) -> None:
    for message in transforms:
        listener.set_transform(message)


def listen(
    node, source: str = 'auto', file: TransformTree | None = None
) -> tuple[VehicleListener, FrameStream]:
    kinds = motion_kinds(source)
    stream = FrameStream(GeometryParameters(), motion_kinds=kinds, calibration=file)
    # The clock is fixed, so that waiting for motion does not time out.
    return VehicleListener(node, stream, stream.push, kinds, clock=lambda: 0.0), stream


def trajectory_of(stream: FrameStream) -> Trajectory:
    return stream.vehicle.motion.around(0, 0, 4_000_000_000 * S)


def place(stream: FrameStream, parent: str, child: str) -> float:
    """Return the x position of a frame in another, after all transforms so far."""
    return stream.vehicle.extrinsics.at(4_000_000_000 * S).lookup(parent, child)[0, 3]


def odometry(x: float, sec: int) -> Odometry:
    message = Odometry(child_frame_id='base_link')
    message.header.frame_id = 'odom'
    message.header.stamp.sec = sec
    message.pose.pose.position.x = x
    message.pose.pose.orientation.w = 1.0
    return message


def test_odometry_over_dds_becomes_motion(node):
    listener, stream = listen(node, 'odometry')
    publisher = node.create_publisher(Odometry, 'odom', 10)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    now = int(time.time())
    end = time.monotonic() + 60
    while len(stream.vehicle.motion) < 2 and time.monotonic() < end:
        publisher.publish(odometry(1.0, now))
        publisher.publish(odometry(2.0, now + 1))
        executor.spin_once(timeout_sec=0.1)
    assert listener.motion_source == 'odometry'
    assert trajectory_of(stream).pose(now * S + S // 2)[0, 3] == pytest.approx(1.5)
    assert listener.problem == ''
    listener.destroy()
    assert node.count_subscribers('odom') == 0
    executor.shutdown()


def test_tf_is_split_into_motion_and_extrinsics(node, monkeypatch):
    # Any message class serves to subscribe; the test passes the transforms itself.
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    listener, stream = listen(node)
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
    assert listener.motion_source == 'tf'
    assert len(stream.vehicle.motion) == 2
    assert place(stream, 'base_link', 'lidar') == 1.0
    with pytest.raises(CalibrationError):
        place(stream, 'odom', 'lidar')


def test_a_trailer_does_not_move_the_vehicle(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    now = int(time.time())
    listener, stream = listen(node)
    for second, child, x in (
        (0, 'trailer', 80.0),
        (1, 'base_link', 3.0),
        (1, 'trailer', 82.0),
        (2, 'base_link', 5.0),
    ):
        hear(listener, transform('odom', child, x, now + second))
    assert len(stream.vehicle.motion) == 2
    assert trajectory_of(stream).pose((now + 1) * S + S // 2)[0, 3] == 4.0


def test_auto_takes_odometry_as_soon_as_there_is_one(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    now = int(time.time())
    listener, stream = listen(node)
    assert not listener.expects_motion()
    publisher = node.create_publisher(Odometry, 'odom', 10)
    deadline = time.monotonic() + 60
    while not listener.expects_motion() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listener.expects_motion()
    hear(listener, transform('odom', 'base_link', 3.0, now))
    assert (listener.motion_source, len(stream.vehicle.motion)) == ('tf', 1)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    while listener.motion_source == 'tf' and time.monotonic() < deadline:
        publisher.publish(odometry(1.0, now))
        executor.spin_once(timeout_sec=0.1)
    hear(listener, transform('odom', 'base_link', 3.0, now + 1))
    assert (listener.motion_source, len(stream.vehicle.motion)) == ('odometry', 1)
    assert trajectory_of(stream).pose(now * S)[0, 3] == 1.0
    executor.shutdown()


def test_tf_without_odometry_is_waited_for_some_seconds_only(node, monkeypatch):
    """A /tf of joints only, such as wheels, is no motion; frames stop waiting for one."""
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    now = [100.0]
    kinds = motion_kinds('auto')
    stream = FrameStream(GeometryParameters(), motion_kinds=kinds)
    listener = VehicleListener(node, stream, stream.push, kinds, clock=lambda: now[0])
    assert not listener.expects_motion()
    now[0] = 200.0
    node.create_publisher(TransformStamped, '/tf', 10)
    deadline = time.monotonic() + 60
    while not listener.expects_motion() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listener.expects_motion()
    now[0] = 204.0
    hear(listener, transform('base_link', 'wheel', 1.0))
    assert listener.expects_motion()
    now[0] = 206.0
    assert not listener.expects_motion()
    hear(listener, transform('odom', 'base_link', 3.0))
    assert listener.expects_motion()


@pytest.mark.parametrize('source', ['tf', 'none'])
def test_what_is_not_auto_does_not_hear_odometry(node, monkeypatch, source):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    listen(node, source)
    assert node.count_subscribers('odom') == 0


def test_motion_has_one_source(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    listener, stream = listen(node, 'odometry')
    hear(listener, transform('odom', 'base_link', 3.0))
    assert len(stream.vehicle.motion) == 0
    assert listener.motion_source == 'none'


def test_without_tf2_msgs_auto_takes_odometry_and_tf_is_refused(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: None)
    listener, _ = listen(node)
    listener.on_odometry(odometry(1.0, 5))
    assert listener.motion_source == 'odometry'
    with pytest.raises(ParameterError, match='tf2_msgs is not installed'):
        motion_kinds('tf')
    with pytest.raises(ParameterError, match='choose one of'):
        motion_kinds('imu')


@pytest.fixture
def calibration() -> TransformTree:
    """Return transforms of a calibration file: `lidar` is 1.5 m ahead of `base_link`."""
    tree = TransformTree()
    T = np.eye(4)
    T[0, 3] = 1.5
    tree.set('base_link', 'lidar', T)
    return tree


@pytest.mark.parametrize('static', [True, False])
@pytest.mark.parametrize(
    'heard', [('base_link', 'lidar'), ('lidar', 'base_link'), ('mast', 'lidar')]
)
def test_what_the_file_places_is_not_moved_by_what_is_heard(node, calibration, heard, static):
    listener, stream = listen(node, file=calibration)
    take = listener.set_transform_static if static else listener.set_transform
    for message in (transform(*heard, 9.0), transform('lidar', 'camera', 0.5)):
        take(message)
    assert place(stream, 'base_link', 'lidar') == 1.5
    assert place(stream, 'base_link', 'camera') == 2.0


def test_bad_pose_is_a_problem_not_an_exception(node):
    listener, _ = listen(node, 'odometry')
    now = int(time.time())
    listener.on_odometry(odometry(float('nan'), now))
    assert 'not a valid pose' in listener.problem
    listener.on_odometry(odometry(0.0, now + 1))
    assert listener.problem == ''


def test_odometry_that_cannot_be_heard_is_a_problem(node):
    parameter = Parameter('qos_overrides./odom.subscription.reliability', value='reliable')
    node._parameter_overrides[parameter.name] = parameter
    listener, _ = listen(node, 'odometry')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_publisher(Odometry, 'odom', qos)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = time.monotonic() + 60
    while not listener.problem and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    assert listener.problem.startswith('odom: incompatible QoS of node')
    executor.shutdown()


@pytest.mark.parametrize('topic', ['/odom', '/tf', '/tf_static'])
def test_a_refused_subscription_leaves_no_other(node, monkeypatch, topic):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    before = list(node.subscriptions)
    name = f'qos_overrides.{topic}.subscription.reliability'
    node._parameter_overrides[name] = Parameter(name, value='perfect')
    with pytest.raises(ParameterError, match='perfect'):
        listen(node)
    assert list(node.subscriptions) == before


def test_recorded_stamps_without_sim_time_give_the_hint(node):
    listener, _ = listen(node, 'odometry')
    listener.on_odometry(odometry(0.0, 1_557_539_956))
    assert 'use_sim_time:=true' in listener.problem


def test_a_bad_transform_of_another_frame_is_told_until_it_is_right(node):
    listener, stream = listen(node)
    for _ in range(2):
        listener.set_transform_static(transform('camera', 'imu', float('nan')))
        listener.set_transform_static(transform('base_link', 'lidar', 1.0))
    assert place(stream, 'base_link', 'lidar') == 1.0
    assert "'imu' to 'camera' is ignored" in listener.problem
    assert 'float64' not in listener.problem
    with pytest.raises(CalibrationError, match="'imu' to 'camera' is ignored"):
        place(stream, 'lidar', 'imu')
    listener.set_transform_static(transform('camera', 'imu', 2.0))
    assert listener.problem == ''


def test_of_two_odometries_on_one_topic_the_vehicles_is_taken(node):
    now = int(time.time())
    listener, stream = listen(node, 'odometry')
    foreign = odometry(500.0, now)
    foreign.header.frame_id, foreign.child_frame_id = 'camera_odom', 'camera_pose'
    listener.on_odometry(foreign)
    listener.on_odometry(odometry(1.0, now))
    foreign.header.stamp.nanosec = S // 2
    listener.on_odometry(foreign)
    listener.on_odometry(odometry(2.0, now + 1))
    assert len(stream.vehicle.motion) == 2
    assert trajectory_of(stream).pose(now * S + S // 2)[0, 3] == pytest.approx(1.5)
    assert 'odometry odom -> base_link is used, odometry camera_odom' in listener.problem


def test_transforms_of_the_vehicle_go_before_a_foreign_odometry(node, monkeypatch):
    monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    now = int(time.time())
    listener, stream = listen(node)
    foreign = odometry(500.0, now)
    foreign.header.frame_id = foreign.child_frame_id = 'camera_odom'
    listener.on_odometry(foreign)
    hear(listener, transform('odom', 'base_link', 3.0, now))
    listener.on_odometry(foreign)
    assert listener.motion_source == 'tf'
    assert trajectory_of(stream).pose(now * S)[0, 3] == 3.0
