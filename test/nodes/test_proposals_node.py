"""The proposals node on a small made-up street, fed over DDS, with good and bad messages."""

from __future__ import annotations

import copy
import threading
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import cv2  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402

from drive_segment_ros.nodes.proposals_node import ProposalsNode  # noqa: E402
from drive_segment_ros.perception.calibration import save_calibration  # noqa: E402
from drive_segment_ros.perception.transforms import TransformTree  # noqa: E402
from drive_segment_ros.ros.images import image_message  # noqa: E402
from drive_segment_ros.ros.point_cloud2 import point_cloud2  # noqa: E402

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
WIDTH, HEIGHT, FOCAL = 320, 240, 200.0
BEAMS, COLUMNS = 32, 600
TYPES = {
    'image_raw/compressed': CompressedImage,
    'camera_info': CameraInfo,
    'points': PointCloud2,
    'odom': Odometry,
}


def stamped(message, stamp_ns: int, frame: str):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = frame
    return message


def street() -> np.ndarray:
    """A sweep over flat ground with a box 8 m ahead: (N,) with x y z intensity t ring."""
    elevation = np.radians(np.linspace(5.0, -25.0, BEAMS))[:, None]
    azimuth = np.radians(np.arange(COLUMNS) * 360.0 / COLUMNS - 180.0)[None, :]
    direction = np.stack(
        np.broadcast_arrays(
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ),
        axis=-1,
    )
    with np.errstate(divide='ignore'):
        ground = np.where(direction[..., 2] < 0, -1.8 / direction[..., 2], np.inf)
        front = np.where(direction[..., 0] > 0, 8.0 / direction[..., 0], np.inf)
    hit = front[..., None] * np.nan_to_num(direction, posinf=0.0)
    on_box = (np.abs(hit[..., 1]) < 1.0) & (hit[..., 2] < 0.2)
    distance = np.minimum(ground, np.where(on_box, front, np.inf))
    seen = distance < 60.0
    ring, column = np.nonzero(seen)
    points = np.zeros(
        len(ring),
        [(n, '<f4') for n in ('x', 'y', 'z', 'intensity', 't')] + [('ring', '<u2')],
    )
    xyz = (direction * np.where(seen, distance, 0.0)[..., None])[seen]
    points['x'], points['y'], points['z'] = xyz.T
    points['intensity'] = 10.0
    points['t'] = column / COLUMNS * 0.1
    points['ring'] = ring
    return points


class Messages:
    """What the sensors of the street send."""

    def __init__(self) -> None:
        from std_msgs.msg import Header

        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        picture[100:150, 120:200] = (40, 60, 200)
        self._picture = picture
        self._jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
        self._cloud = point_cloud2(street(), Header())

    def image(self, stamp_ns: int) -> CompressedImage:
        message = CompressedImage(format='jpeg', data=self._jpeg)
        return stamped(message, stamp_ns, 'camera')

    def raw_image(self, stamp_ns: int) -> Image:
        from std_msgs.msg import Header

        return stamped(image_message(self._picture, 'bgr8', Header()), stamp_ns, 'camera')

    def info(self, stamp_ns: int, focal: float = FOCAL) -> CameraInfo:
        message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob')
        one = float(focal > 0)
        message.d = [0.0] * 5
        message.k = [focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, one]
        if not focal:
            message.k = [0.0] * 9
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        message.p = [focal, 0.0, WIDTH / 2, 0.0, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 0.0, one, 0.0]
        return stamped(message, stamp_ns, 'camera')

    def cloud(self, stamp_ns: int) -> PointCloud2:
        return stamped(copy.deepcopy(self._cloud), stamp_ns, 'lidar')

    def odometry(self, stamp_ns: int) -> Odometry:
        message = stamped(Odometry(child_frame_id='base_link'), stamp_ns, 'odom')
        message.pose.pose.position.x = (stamp_ns - START_NS) * 5e-9
        message.pose.pose.orientation.w = 1.0
        return message


def calibration(path: Path) -> Path:
    tree = TransformTree()
    T_base_lidar = np.eye(4)
    T_base_lidar[2, 3] = 1.8
    tree.set('base_link', 'lidar', T_base_lidar)
    T_lidar_camera = np.eye(4)
    T_lidar_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T_lidar_camera[:3, 3] = [0.1, 0.0, -0.2]
    tree.set('lidar', 'camera', T_lidar_camera)
    save_calibration(path, tree, {})
    return path


class Rig:
    """An active node, and a node that plays the sensors and watches what comes out."""

    def __init__(self, raw: bool = False, **parameters) -> None:
        kinds = dict(TYPES)
        if raw:
            kinds['image_raw'] = Image
            del kinds['image_raw/compressed']
        self.messages = Messages()
        self.frames: list = []
        self.received: dict[str, list] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        overrides = [Parameter(name.replace('__', '.'), value=v) for name, v in parameters.items()]
        self.node = ProposalsNode(context=self._context, parameter_overrides=overrides)
        self.node.frame_sinks.append(self.frames.append)
        self.sensors = rclpy.create_node('sensors', context=self._context)
        self._publishers = {
            topic: self.sensors.create_publisher(kind, topic, QoSProfile(depth=20))
            for topic, kind in kinds.items()
        }
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._executor.add_node(self.sensors)
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        assert self.wait(
            lambda: all(p.get_subscription_count() for p in self._publishers.values())
        )

    def watch(self, kind: type, topic: str) -> list:
        self.received[topic] = []
        self.sensors.create_subscription(kind, topic, self.received[topic].append, 10)
        assert self.wait(lambda: self.sensors.count_publishers(topic))
        time.sleep(0.2)
        return self.received[topic]

    def send(self, topic: str, message) -> None:
        self._publishers[topic].publish(message)

    def drive(self, first: int, last: int) -> None:
        """Send all sensors' messages from one period to another; odometry on either side."""
        make = self.messages
        for i in range(first, last):
            stamp = START_NS + i * PERIOD_NS
            self.send('odom', make.odometry(stamp - PERIOD_NS // 2))
            self.send('odom', make.odometry(stamp))
            self.send('camera_info', make.info(stamp))
            self.send('image_raw/compressed', make.image(stamp + 10_000_000))
            self.send('points', make.cloud(stamp))
            # Faster than in real time, yet not all at once: queues are as long as a second.
            time.sleep(0.03)
        self.send('odom', make.odometry(START_NS + (last + 2) * PERIOD_NS))

    def wait(self, condition, limit_s: float = 15.0) -> bool:
        deadline = time.monotonic() + limit_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(condition())

    @property
    def dropped(self) -> dict[str, int]:
        return self.node.summary()['dropped']

    @property
    def diagnosis(self) -> str:
        return ' | '.join(part().summary for part in self.node.diagnostic_parts().values())

    @property
    def is_active(self) -> bool:
        return self.node._state_machine.current_state[1] == 'active'

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.trigger_shutdown()
        self.node.destroy_node()
        self.sensors.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def make_rig(ros_domain, tmp_path):
    rigs = []

    def make(**parameters) -> Rig:
        defaults = {
            'calibration_file': str(calibration(tmp_path / 'calibration.yaml')),
            # The last image waits this long for a sweep that never comes.
            'sync__max_wait_s': 0.2,
        }
        rigs.append(Rig(**{**defaults, **parameters}))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


def test_publishes_a_coloured_cloud_and_an_overlay_with_the_stamps_of_their_sources(rig):
    clouds = rig.watch(PointCloud2, 'proposals/points')
    overlays = rig.watch(Image, 'proposals/image_raw')
    pictures = rig.watch(CompressedImage, 'proposals/image_raw/compressed')
    rig.drive(0, 3)
    assert rig.wait(lambda: clouds and overlays and pictures)
    stamps = [START_NS + i * PERIOD_NS for i in range(3)]

    def stamp(message) -> int:
        return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

    assert stamp(clouds[0]) in stamps
    assert clouds[0].header.frame_id == 'lidar'
    assert [field.name for field in clouds[0].fields] == ['x', 'y', 'z', 'rgb', 'label']
    assert stamp(overlays[0]) - 10_000_000 in stamps
    assert overlays[0].header.frame_id == 'camera'
    assert overlays[0].encoding == 'bgr8'
    decoded = cv2.imdecode(np.frombuffer(pictures[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == (overlays[0].height, overlays[0].width)


def test_every_image_becomes_a_frame_with_motion(rig):
    rig.drive(0, 6)
    assert rig.wait(lambda: len(rig.frames) == 6), rig.diagnosis
    assert [frame.stamp_ns for frame in rig.frames] == [
        START_NS + i * PERIOD_NS + 10_000_000 for i in range(6)
    ]
    summary = rig.node.summary()
    assert summary['dropped'] == {}
    assert summary['pairs'] == 6
    assert rig.frames[3].segment.any()


def test_deactivated_node_hears_nothing_and_an_active_one_again(rig):
    rig.drive(0, 2)
    assert rig.wait(lambda: len(rig.frames) == 2)
    rig.node.trigger_deactivate()
    rig.drive(2, 4)
    time.sleep(0.3)
    assert len(rig.frames) == 2
    rig.node.trigger_activate()
    publishers = rig._publishers.values()
    assert rig.wait(lambda: all(p.get_subscription_count() for p in publishers))
    rig.drive(4, 6)
    assert rig.wait(lambda: len(rig.frames) == 4)


def test_bag_that_starts_again_goes_on_giving_frames(rig):
    rig.drive(0, 15)
    assert rig.wait(lambda: len(rig.frames) == 15)
    rig.drive(0, 3)
    assert rig.wait(lambda: len(rig.frames) == 18), rig.diagnosis


def truncated_image(make: Messages, stamp: int):
    message = make.image(stamp)
    message.data = message.data[: len(message.data) // 3]
    return 'image_raw/compressed', message


def cloud_without_x(make: Messages, stamp: int):
    message = make.cloud(stamp)
    message.fields = message.fields[1:]
    return 'points', message


def truncated_cloud(make: Messages, stamp: int):
    message = make.cloud(stamp)
    message.data = message.data[:100]
    return 'points', message


def unknown_lidar(make: Messages, stamp: int):
    return 'points', stamped(make.cloud(stamp), stamp, 'lidar_rear')


@pytest.mark.parametrize(
    ('break_message', 'reason', 'words'),
    [
        (truncated_image, 'bad_image', 'truncated'),
        (cloud_without_x, 'bad_cloud', 'no field x'),
        (truncated_cloud, 'bad_cloud', 'truncated'),
        (unknown_lidar, 'bad_calibration', "no transform from 'lidar_rear'"),
    ],
)
def test_bad_message_costs_one_frame_and_is_named(rig, break_message, reason, words):
    rig.drive(0, 2)
    stamp = START_NS + 2 * PERIOD_NS
    bad_topic, bad = break_message(rig.messages, stamp)
    good = {'image_raw/compressed': rig.messages.image(stamp), 'points': rig.messages.cloud(stamp)}
    for topic, message in {**good, bad_topic: bad}.items():
        rig.send(topic, message)
    rig.drive(3, 5)
    assert rig.wait(lambda: len(rig.frames) == 4), rig.diagnosis
    assert rig.dropped == {reason: 1}
    assert words in rig.diagnosis
    assert rig.is_active


def test_cloud_of_nothing_but_nan_does_not_stop_the_node(rig):
    rig.drive(0, 2)
    stamp = START_NS + 2 * PERIOD_NS
    cloud = rig.messages.cloud(stamp)
    points = np.frombuffer(bytes(cloud.data), street().dtype).copy()
    for name in 'xyz':
        points[name] = np.nan
    cloud.data = points.tobytes()
    rig.send('image_raw/compressed', rig.messages.image(stamp))
    rig.send('points', cloud)
    rig.drive(3, 5)
    assert rig.wait(lambda: rig.frames and rig.frames[-1].stamp_ns > stamp + PERIOD_NS)
    assert rig.wait(lambda: len(rig.frames) + sum(rig.dropped.values()) == 5)
    assert set(rig.dropped) <= {'bad_cloud'}
    assert rig.is_active


def test_uncalibrated_camera_info_is_named_and_a_good_one_ends_it(rig):
    stamp = START_NS
    rig.send('camera_info', rig.messages.info(stamp, focal=0.0))
    rig.send('image_raw/compressed', rig.messages.image(stamp))
    rig.send('points', rig.messages.cloud(stamp))
    assert rig.wait(lambda: rig.node.errors['camera_info'] == 1)
    assert 'camera_info' in rig.diagnosis
    assert not rig.frames
    rig.drive(1, 3)
    assert rig.wait(lambda: len(rig.frames) >= 2), rig.diagnosis
    assert rig.is_active


def test_missing_stamps_are_counted_and_named(rig):
    rig.drive(0, 2)
    rig.send('image_raw/compressed', rig.messages.image(0))
    assert rig.wait(lambda: rig.dropped.get('zero_stamp') == 1)
    assert 'header.stamp' in rig.diagnosis
    assert rig.is_active


def test_without_transforms_the_diagnosis_says_what_to_do(make_rig):
    rig = make_rig(calibration_file='', pipeline__motion_wait=0.0)
    rig.drive(0, 3)
    assert rig.wait(lambda: 'no transform' in rig.diagnosis), rig.diagnosis
    assert rig.is_active


def test_says_which_sensor_it_waits_for_on_diagnostics(rig):
    statuses: list = rig.watch(DiagnosticArray, '/diagnostics')
    rig.send('image_raw/compressed', rig.messages.image(START_NS))

    def said() -> bool:
        return any('waiting for points' in s.message for array in statuses for s in array.status)

    assert rig.wait(said)


def test_takes_raw_images_where_only_those_are_published(make_rig):
    rig = make_rig(raw=True)
    rig.send('camera_info', rig.messages.info(START_NS))
    for i in range(3):
        stamp = START_NS + i * PERIOD_NS
        rig.send('points', rig.messages.cloud(stamp))
        rig.send('image_raw', rig.messages.raw_image(stamp))
    assert rig.wait(lambda: len(rig.frames) == 3), rig.diagnosis
    assert rig.frames[0].image_suffix == '.png'


def test_missing_calibration_file_refuses_activation_with_its_name(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = ProposalsNode(
        context=context, parameter_overrides=[Parameter('calibration_file', value='/no/file.yaml')]
    )
    try:
        node.trigger_configure()
        assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
        assert '/no/file.yaml' in node.failure
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
