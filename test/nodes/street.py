"""A small synthetic street, its sensor messages, and a rig of a node under test and sensors."""

from __future__ import annotations

import copy
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from drive_segment_ros.nodes.proposals_node import ProposalsNode
from drive_segment_ros.perception.calibration import save_calibration
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.images import image_message
from drive_segment_ros.ros.point_cloud2 import point_cloud2

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


# Optical frame and yaw of each camera of the rig; degrees, positive to the left.
CAMERAS = {
    'front': ('camera', 0.0),
    'front_left': ('camera_left', 40.0),
    'front_right': ('camera_right', -40.0),
}


def stamped(message, stamp_ns: int, frame: str):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.header.frame_id = frame
    return message


def street() -> np.ndarray:
    """Return a sweep of flat ground and a box 8 m ahead, (N,): x y z intensity t ring."""
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
    """Makes the sensor messages of the street."""

    def __init__(self) -> None:
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        picture[100:150, 120:200] = (40, 60, 200)
        self._picture = picture
        self._jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
        self.points = street()
        self._cloud = point_cloud2(self.points, Header())

    def image(self, stamp_ns: int, frame: str = 'camera') -> CompressedImage:
        message = CompressedImage(format='jpeg', data=self._jpeg)
        return stamped(message, stamp_ns, frame)

    def raw_image(self, stamp_ns: int) -> Image:
        return stamped(image_message(self._picture, 'bgr8', Header()), stamp_ns, 'camera')

    def info(self, stamp_ns: int, focal: float = FOCAL, frame: str = 'camera') -> CameraInfo:
        message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob')
        one = float(focal > 0)
        message.d = [0.0] * 5
        message.k = [focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, one]
        if not focal:
            message.k = [0.0] * 9
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        message.p = [focal, 0.0, WIDTH / 2, 0.0, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 0.0, one, 0.0]
        return stamped(message, stamp_ns, frame)

    def cloud(self, stamp_ns: int, frame: str = 'lidar') -> PointCloud2:
        return stamped(copy.deepcopy(self._cloud), stamp_ns, frame)

    def odometry(self, stamp_ns: int) -> Odometry:
        message = stamped(Odometry(child_frame_id='base_link'), stamp_ns, 'odom')
        message.pose.pose.position.x = (stamp_ns - START_NS) * 5e-9
        message.pose.pose.orientation.w = 1.0
        return message


def looking(yaw_deg: float) -> np.ndarray:
    """Return the rotation of T_lidar_camera, (3, 3), of a camera turned left by a yaw."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return turn @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def troubled(messages: list, delay_ns: int, lost: int, repeated: int) -> list:
    """Delay every third message, drop one and repeat one; return them by bag stamp."""
    late = [(t + delay_ns * (k % 3 == 1), raw) for k, (t, raw) in enumerate(messages)]
    again = (late[repeated][0] + PERIOD_NS // 2, late[repeated][1])
    return sorted([m for k, m in enumerate(late) if k != lost] + [again])


def recording(make: Messages, frames: int, types, cameras=('front',), trouble: bool = False):
    """Yield topic, type and (bag stamp, CDR) of each message of a drive along the street.

    Args:
        make: makes the messages.
        frames: number of frames of each camera.
        types: rosbags' type store.
        cameras: keys of `CAMERAS`.
        trouble: whether messages arrive late (within the waiting time), get lost and repeat.
    """
    T = types.types
    tf = 'tf2_msgs/msg/TFMessage'

    def transforms(stamp_ns: int, links) -> bytes:
        sec, nanosec = divmod(stamp_ns, 10**9)
        stamp = T['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
        messages = [
            T['geometry_msgs/msg/TransformStamped'](
                header=T['std_msgs/msg/Header'](stamp=stamp, frame_id=parent),
                child_frame_id=child,
                transform=T['geometry_msgs/msg/Transform'](
                    translation=T['geometry_msgs/msg/Vector3'](*translation),
                    rotation=T['geometry_msgs/msg/Quaternion'](*rotation),
                ),
            )
            for parent, child, translation, rotation in links
        ]
        return types.serialize_cdr(T[tf](messages), tf).tobytes()

    stamps = [START_NS + i * PERIOD_NS for i in range(frames)]
    poses = [START_NS + i * PERIOD_NS // 2 for i in range(-4, 2 * frames + 4)]
    static = [
        ('base_link', 'lidar', (0.0, 0.0, 1.8), (0.0, 0.0, 0.0, 1.0)),
        *(
            ('lidar', frame, (0.1, 0.0, -0.2), Rotation.from_matrix(looking(yaw)).as_quat())
            for frame, yaw in (CAMERAS[name] for name in cameras)
        ),
    ]
    yield '/tf_static', tf, [(poses[0], transforms(poses[0], static))]
    yield '/tf', tf, [
        (t, transforms(t, [('odom', 'base_link', ((t - START_NS) * 5e-9, 0.0, 0.0),
                            (0.0, 0.0, 0.0, 1.0))]))
        for t in poses
    ]  # fmt: skip
    for k, name in enumerate(cameras):
        camera, frame, lag_ns = f'/camera/{name}', CAMERAS[name][0], 10_000_000 + 4_000_000 * k
        info = [(t, serialize_message(make.info(t, frame=frame))) for t in stamps]
        yield f'{camera}/camera_info', 'sensor_msgs/msg/CameraInfo', info
        images = [(t, serialize_message(make.image(t + lag_ns, frame))) for t in stamps]
        if trouble:
            images = troubled(images, 80_000_000 + k, lost=3 + k, repeated=6 - k)
        yield f'{camera}/image_raw/compressed', 'sensor_msgs/msg/CompressedImage', images
    clouds = [(t, serialize_message(make.cloud(t))) for t in stamps]
    if trouble:
        clouds = troubled(clouds, 120_000_000, lost=7, repeated=2)
    yield '/lidar/points', 'sensor_msgs/msg/PointCloud2', clouds


def calibration(path: Path) -> Path:
    tree = TransformTree()
    T_base_lidar = np.eye(4)
    T_base_lidar[2, 3] = 1.8
    tree.set('base_link', 'lidar', T_base_lidar)
    for frame, yaw_deg in CAMERAS.values():
        T_lidar_camera = np.eye(4)
        T_lidar_camera[:3, :3] = looking(yaw_deg)
        T_lidar_camera[:3, 3] = [0.1, 0.0, -0.2]
        tree.set('lidar', frame, T_lidar_camera)
    save_calibration(path, tree, {})
    return path


class Rig:
    """An active node under test, and a node that publishes sensor messages and receives outputs.

    With the parameter `cameras`, keys of `CAMERAS`, each camera has its own topics.
    """

    def __init__(self, raw: bool = False, node_class: type = ProposalsNode, **parameters) -> None:
        kinds = dict(TYPES)
        self.cameras = parameters.get('cameras', [])
        for topic in ('image_raw/compressed', 'camera_info') if self.cameras else ():
            kind = kinds.pop(topic)
            kinds |= {f'{name}/{topic}': kind for name in self.cameras}
        if raw:
            kinds['image_raw'] = Image
            del kinds['image_raw/compressed']
        self.messages = Messages()
        self.frames: list = []
        self.received: dict[str, list] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        overrides = [Parameter(name.replace('__', '.'), value=v) for name, v in parameters.items()]
        self.node = node_class(context=self._context, parameter_overrides=overrides)
        self.node.frame_sinks.append(self.frames.append)
        self.sensors = rclpy.create_node('sensors', context=self._context)
        self._publishers = {
            topic: self.sensors.create_publisher(kind, topic, QoSProfile(depth=100))
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
        assert self.wait(lambda: self.node.count_subscribers(topic))
        name = self.sensors.resolve_topic_name(topic)
        publishers = [p for p in self.node.publishers if p.topic_name == name]
        assert self.wait(lambda: all(p.get_subscription_count() for p in publishers))
        return self.received[topic]

    def send(self, topic: str, message) -> None:
        self._publishers[topic].publish(message)

    def drive(self, first: int, last: int, dead: str = '') -> None:
        """Send the messages of all sensors for some periods; odometry extends beyond both ends.

        Args:
            first, last: range of periods, without `last`.
            dead: name of a camera that sends nothing.
        """
        make = self.messages
        for i in range(first, last):
            stamp = START_NS + i * PERIOD_NS
            self.send('odom', make.odometry(stamp - PERIOD_NS // 2))
            self.send('odom', make.odometry(stamp))
            self.send('points', make.cloud(stamp))
            for name in self.cameras or ['']:
                prefix, frame = (f'{name}/', CAMERAS[name][0]) if name else ('', 'camera')
                if name == dead != '':
                    continue
                self.send(f'{prefix}camera_info', make.info(stamp, frame=frame))
                # Each camera is triggered as the beam passes it, so its stamp shifts with its yaw.
                lag_ns = 10_000_000 + round(CAMERAS[name or 'front'][1] / 360.0 * PERIOD_NS)
                image = make.image(stamp + lag_ns, frame)
                self.send(f'{prefix}image_raw/compressed', image)
            # Faster than real time, but not at once: queues hold one second of messages.
            time.sleep(0.03)
        self.send('odom', make.odometry(START_NS + (last + 2) * PERIOD_NS))

    def change(self, transition: str) -> TransitionCallbackReturn:
        """Run a transition on the executor's thread, which waits on the entities it destroys."""
        task = self._executor.create_task(getattr(self.node, f'trigger_{transition}'))
        assert self.wait(task.done)
        return task.result()

    def silence(self, publisher) -> None:
        """Destroy a publisher on the executor's thread, which waits on its events."""
        self._executor.create_task(self.sensors.destroy_publisher, publisher)

    def wait(self, condition, limit_s: float = 60.0) -> bool:
        deadline = time.monotonic() + limit_s
        # Do not evaluate the condition again: it may no longer hold.
        while not (held := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(held)

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
