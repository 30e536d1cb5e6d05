from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.errors import BagError, ParameterError
from drive_segment_ros.nodes.bag_player import PlayParameters, _BagPlayer, play

TYPES = get_typestore(Stores.ROS2_JAZZY)
T = TYPES.types
START_NS = 1_700_000_000_123_456_789
POSITION = (1.0 / 3.0, -2.0e5 / 7.0, 1e-17)
CLOUD = 'sensor_msgs/msg/PointCloud2'
CLOUD_BYTES = 300_000


@pytest.fixture(autouse=True)
def own_domain(ros_domain):
    pass


def header(stamp_ns: int, frame: str):
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time_ = T['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    return T['std_msgs/msg/Header'](stamp=time_, frame_id=frame)


def transform(stamp_ns: int, parent: str, child: str, translation):
    return T['geometry_msgs/msg/TransformStamped'](
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=T['geometry_msgs/msg/Transform'](
            translation=T['geometry_msgs/msg/Vector3'](*translation),
            rotation=T['geometry_msgs/msg/Quaternion'](0.1, 0.2, 0.3, 0.9),
        ),
    )


def cloud(stamp_ns: int, size: int = CLOUD_BYTES):
    return T['sensor_msgs/msg/PointCloud2'](
        header=header(stamp_ns, 'lidar'),
        height=1,
        width=size // 4,
        fields=[T['sensor_msgs/msg/PointField'](name='x', offset=0, datatype=7, count=1)],
        is_bigendian=False,
        point_step=4,
        row_step=size,
        data=np.full(size, stamp_ns % 251, np.uint8),
        is_dense=True,
    )


def offer(reliability, durability, depth):
    never = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        reliability,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


@pytest.fixture
def bag(tmp_path) -> Path:
    """Return a bag of 0.5 s: clouds at 10 Hz, /tf of vehicle, trailer and wheel, /tf_static."""
    path = tmp_path / 'bag'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def add(topic, message_type):
            connection = writer.add_connection(topic, message_type, typestore=TYPES)
            return lambda stamp, message: writer.write(
                connection, stamp, TYPES.serialize_cdr(message, message_type)
            )

        tf_type = 'tf2_msgs/msg/TFMessage'
        static, tf = add('/tf_static', tf_type), add('/tf', tf_type)
        points = add('/points', CLOUD)
        static(START_NS, T[tf_type]([transform(START_NS, 'base_link', 'lidar', (0.0, 0.0, 1.7))]))
        for i in range(5):
            stamp = START_NS + i * 100_000_000
            moving = [
                transform(stamp, 'odom', 'base_link', POSITION),
                transform(stamp, 'odom', 'trailer', (-9.0, 0.0, 0.0)),
                transform(stamp, 'base_link', 'wheel', (0.0, 1.0, 2.0)),
            ]
            tf(stamp, T[tf_type](moving))
            points(stamp + 1000, cloud(stamp))
    return path


class Listener:
    """Subscribes to played topics in this process; the player runs in another."""

    def __init__(self) -> None:
        import rclpy
        from nav_msgs.msg import Odometry
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import PointCloud2

        self._rclpy = rclpy
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node('listener', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.clouds: list = []
        self.odometry: list = []
        self.clocks: list = []
        for message_type, topic, received in (
            (PointCloud2, '/points', self.clouds),
            (Odometry, '/odom', self.odometry),
            (Clock, '/clock', self.clocks),
        ):
            self._node.create_subscription(
                message_type, topic, received.append, QoSProfile(depth=50)
            )

    def has_publisher(self, topic: str) -> bool:
        return self._node.count_publishers(topic) > 0

    def join_late(self, topic: str) -> list:
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import PointCloud2

        received: list = []
        latched = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(PointCloud2, topic, received.append, latched)
        return received

    def look_at(self, topic: str) -> None:
        from sensor_msgs.msg import Image

        self._node.create_subscription(Image, topic, lambda message: None, 1)

    def spin_until(self, finished, limit_s: float = 120.0) -> None:
        deadline = time.monotonic() + limit_s
        while not finished() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def start_player(bag: Path, **parameters) -> subprocess.Popen:
    """Start the player in another process, which prints its report."""
    code = (
        'import sys; from pathlib import Path\n'
        'from drive_segment_ros.nodes.bag_player import PlayParameters, play\n'
        f'report = play(Path(sys.argv[1]), PlayParameters(**{parameters!r}))\n'
        'print(report.sent, report.unmatched, report.unacknowledged)'
    )
    return subprocess.Popen(
        [sys.executable, '-c', code, str(bag)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def has_tf2_msgs() -> bool:
    try:
        import tf2_msgs.msg  # noqa: F401
    except ImportError:
        return False
    return True


needs_missing_tf2 = pytest.mark.skipif(
    has_tf2_msgs(), reason='tf2_msgs is installed here, so /tf is played as it is'
)


@needs_missing_tf2
@pytest.mark.parametrize('ros_1', [False, True])
def test_all_arrives_byte_for_byte_and_odometry_keeps_its_doubles(
    bag, listener, tmp_path, as_ros_1, ros_1
):
    if ros_1:
        bag = as_ros_1(bag, tmp_path / 'old.bag', 'lz4')
    player = start_player(
        bag, rate=2.0, clock=True, wait_for_topics=['/clock'], wait_for_subscribers=120.0
    )
    listener.spin_until(lambda: player.poll() is not None)
    listener.spin_until(lambda: len(listener.clouds) >= 5 and len(listener.odometry) >= 5)
    output, errors = player.communicate(timeout=60)
    assert player.returncode == 0, errors
    assert output.split('\n')[0] == "{'/odom': 5, '/points': 5} [] []"

    stamps = [START_NS + i * 100_000_000 for i in range(5)]
    received = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in listener.clouds]
    assert received == stamps
    for stamp, message in zip(stamps, listener.clouds, strict=True):
        assert bytes(message.data) == bytes([stamp % 251]) * CLOUD_BYTES
    for message in listener.odometry:
        position = message.pose.pose.position
        assert (position.x, position.y, position.z) == POSITION
        assert message.pose.pose.orientation.w == 0.9
        assert (message.header.frame_id, message.child_frame_id) == ('odom', 'base_link')
    clocks = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.clocks]
    assert clocks
    assert clocks == sorted(clocks)
    assert clocks[0] >= START_NS
    assert clocks[-1] <= stamps[-1] + 10**6


def test_waits_until_somebody_looks_at_what_is_made_of_the_bag(bag, listener):
    player = start_player(
        bag, topics=['/points'], wait_for_topics=['/masks'], wait_for_subscribers=120.0
    )
    try:
        listener.spin_until(lambda: listener.has_publisher('/points'))
        listener.spin_until(lambda: listener.clouds, limit_s=1.0)
        assert not listener.clouds
        listener.look_at('/masks')
        listener.spin_until(lambda: player.poll() is not None)
    finally:
        player.kill()
    output, errors = player.communicate(timeout=60)
    assert player.returncode == 0, errors
    assert output.split('\n')[0] == "{'/points': 5} [] []"


def test_loop_goes_on_until_interrupted_and_then_ends_cleanly(bag, listener):
    player = start_player(
        bag, rate=10.0, loop=True, topics=['/points'], wait_for_subscribers=120.0
    )
    try:
        listener.spin_until(lambda: len(listener.clouds) > 7)
        player.send_signal(signal.SIGINT)
        listener.spin_until(lambda: player.poll() is not None)
    finally:
        player.kill()
    output, errors = player.communicate(timeout=60)
    assert player.returncode == 0, errors
    assert "'/points': " in output
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in listener.clouds]
    # At least 8 clouds of a bag with 5: stamps must repeat, even if messages were lost.
    assert any(later <= earlier for earlier, later in itertools.pairwise(stamps))


def test_plays_at_the_asked_rate_and_names_what_nobody_wants(bag):
    parameters = PlayParameters(
        rate=2.0, topics=['/points'], wait_for_topics=['/masks'], wait_for_subscribers=0.0
    )
    report = play(bag, parameters)
    assert report.sent == {'/points': 5}
    assert report.unmatched == ['/points', '/masks']
    # Four gaps of 0.1 s at twice the speed; a lower bound only, the machine may be busy.
    assert report.duration_s >= 0.19


@needs_missing_tf2
def test_odometry_of_the_bag_itself_is_not_mixed_with_that_in_tf(bag, tmp_path):
    odometry = 'nav_msgs/msg/Odometry'
    path = tmp_path / 'both'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/odom', odometry, typestore=TYPES)
        writer.write(connection, START_NS, bytes(1000))
        connection = writer.add_connection('/tf', 'tf2_msgs/msg/TFMessage', typestore=TYPES)
        writer.write(connection, START_NS, bytes(8))
    report = play(path, PlayParameters(wait_for_subscribers=0.0))
    assert report.sent == {'/odom': 1}
    assert '/odom is in the bag itself' in report.skipped['/tf']
    report = play(bag, PlayParameters(topics=['/tf'], rate=10.0, wait_for_subscribers=0.0))
    assert report.sent == {'/odom': 5}


@needs_missing_tf2
def test_odometry_made_of_transforms_is_offered_as_they_were(tmp_path, monkeypatch):
    path, made = tmp_path / 'deep', {}
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        offers = [offer(QosReliability.RELIABLE, QosDurability.VOLATILE, 100)]
        tf_type = 'tf2_msgs/msg/TFMessage'
        connection = writer.add_connection(
            '/tf', tf_type, typestore=TYPES, offered_qos_profiles=offers
        )
        moving = T[tf_type]([transform(START_NS, 'odom', 'base_link', POSITION)])
        writer.write(connection, START_NS, TYPES.serialize_cdr(moving, tf_type))
    create = _BagPlayer._create_publisher

    def remember(player, *arguments):
        publisher = create(player, *arguments)
        made[publisher.topic] = publisher.qos_profile.depth
        return publisher

    monkeypatch.setattr(_BagPlayer, '_create_publisher', remember)
    assert play(path, PlayParameters(wait_for_subscribers=0.0)).sent == {'/odom': 1}
    assert made == {'/odom': 100}


@needs_missing_tf2
def test_static_transforms_are_skipped_with_the_way_out(bag):
    with pytest.raises(BagError, match=r'/tf_static: tf2_msgs is not installed; .*calibration'):
        play(bag, PlayParameters(topics=['/tf_static']))


def test_parts_of_a_drive_are_played_together(bag, tmp_path):
    path = tmp_path / 'side'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/side/points', CLOUD, typestore=TYPES)
        for stamp in (START_NS + 50_000_000, START_NS + 250_000_000):
            writer.write(connection, stamp, TYPES.serialize_cdr(cloud(stamp), CLOUD))
    topics = ['/points', '/side/points']
    report = play([bag, path], PlayParameters(topics=topics, wait_for_subscribers=0.0))
    assert report.sent == {'/points': 5, '/side/points': 2}


def test_unknown_topic_is_named_with_those_there_are(bag):
    with pytest.raises(BagError, match=r'no topic /image; it has .*/points'):
        play(bag, PlayParameters(topics=['/image']))


def test_impossible_topic_to_wait_for_is_an_error(bag):
    with pytest.raises(ParameterError, match=r'cannot wait for /two words: .*invalid'):
        play(bag, PlayParameters(topics=['/points'], wait_for_topics=['/two words']))


@pytest.mark.parametrize(
    ('topic', 'kind', 'why'),
    [
        ('/front-left/text', 'std_msgs/msg/String', 'topic name must not contain'),
        ('/1st/text', 'std_msgs/msg/String', 'must not start with a number'),
        ('/text', '', 'is not installed'),
        ('/text', 'std_msgs/msg/_string', 'is not installed'),
    ],
)
def test_topics_that_ros_2_cannot_have_are_skipped(tmp_path, topic, kind, why):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for name, msgtype in (('/points', CLOUD), (topic, kind)):
            connection = writer.add_connection(name, msgtype, msgdef='', rihs01='none')
            writer.write(connection, START_NS, TYPES.serialize_cdr(cloud(START_NS), CLOUD))
    report = play(tmp_path / 'bag', PlayParameters(wait_for_subscribers=0.0))
    assert report.sent == {'/points': 1}
    assert why in report.skipped[topic]


@needs_missing_tf2
def test_impossible_topic_for_odometry_is_an_error(bag):
    with pytest.raises(ParameterError, match=r"'/my odom' cannot be a topic: Invalid topic name"):
        play(bag, PlayParameters(odometry_topic='/my odom'))


def test_missing_bag_is_an_error(tmp_path):
    with pytest.raises(BagError):
        play(tmp_path / 'nothing', PlayParameters())


def test_clock_that_was_set_while_recording_is_not_waited_for(tmp_path, caplog):
    path = tmp_path / 'bag'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/points', CLOUD, typestore=TYPES)
        for stamp in (5, 100_000_005, START_NS, START_NS + 100_000_000):
            writer.write(connection, stamp, TYPES.serialize_cdr(cloud(stamp), CLOUD))
    report = play(path, PlayParameters(wait_for_subscribers=0.0))
    assert report.sent == {'/points': 4}
    assert report.duration_s >= 0.19  # the two intervals of 0.1 s
    assert 'a pause of 54 years in the recording is skipped' in caplog.text


def test_who_comes_late_gets_every_latched_message(tmp_path, listener):
    path, count = tmp_path / 'bag', 600
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        offers = [offer(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 1)]
        latched = writer.add_connection(
            '/latched', CLOUD, typestore=TYPES, offered_qos_profiles=offers
        )
        for k in range(count):
            writer.write(latched, START_NS + k, TYPES.serialize_cdr(cloud(k, 40), CLOUD))
        # Keeps the player running for another 50 s.
        late = START_NS + 50_000_000_000
        writer.write(latched, late, TYPES.serialize_cdr(cloud(late, 40), CLOUD))
    player = start_player(path, wait_for_subscribers=0.0)
    try:
        listener.spin_until(lambda: listener.has_publisher('/latched'))
        listener.spin_until(lambda: False, limit_s=1.0)
        received = listener.join_late('/latched')
        listener.spin_until(lambda: len(received) == count, limit_s=60.0)
        assert len(received) == count
    finally:
        player.kill()
        player.communicate(timeout=60)


def test_offers_what_the_recorded_publisher_offered():
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    from drive_segment_ros.nodes.bag_player import _profile

    sensor = _profile('/points', [offer(QosReliability.BEST_EFFORT, QosDurability.VOLATILE, 5)], 9)
    assert sensor.reliability == ReliabilityPolicy.BEST_EFFORT
    info = _profile('/map', [offer(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 99)], 1)
    assert info.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert info.depth == 99
    assert _profile('/points', [], 0).reliability == ReliabilityPolicy.RELIABLE
    assert _profile('/tf_static', [], 0).durability == DurabilityPolicy.TRANSIENT_LOCAL
