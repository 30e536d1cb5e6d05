"""Memory growth of the recorder node over 10,000 small images of three cameras, all recorded.

Node and sensors run in one process and communicate over DDS. Growth is counted from the thousandth
image on, when caches are full.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from processes import own_domain

CAMERAS = ('front', 'front_left', 'front_right')
WIDTH, HEIGHT, FOCAL = 112, 64, 70.0
BEAMS, COLUMNS = 16, 240
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
IMAGES, SETTLED, QUICK = 10_000, 1_000, 1_500
# Largest number of images in flight.
AHEAD = 24
LIMIT_S = 30.0
GATES = ('min_interval', 'min_distance', 'min_sharpness')


def run(quick: bool = False) -> dict[str, Any]:
    """Publish sensor data as fast as it is recorded; `median_s` and `p95_s` are per sweep.

    Args:
        quick: 1,500 images only.

    Raises:
        RuntimeError: if an image is dropped or not recorded in time.
    """
    own_domain()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_soak_') as name:
        seconds, resident = _soak(Path(name), QUICK if quick else IMAGES)
    settled = SETTLED // len(CAMERAS)
    return {
        'results': [
            {
                'name': 'soak.rig',
                'median_s': float(np.median(seconds)),
                'p95_s': float(np.percentile(seconds, 95)),
                'runs': len(CAMERAS) * len(seconds),
                'peer': False,
                'ratio': None,
                'memory_mib': resident[-1] / 2**20,
                'growth_mib': (resident[-1] - resident[settled]) / 2**20,
                'largest_growth_mib': (max(resident[settled:]) - resident[settled]) / 2**20,
            }
        ]
    }


def _soak(folder: Path, images: int) -> tuple[list[float], list[int]]:
    """Return, for each sweep, the seconds until the next could be sent, and resident bytes."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from drive_segment_ros.nodes.pseudo_label_recorder_node import PseudoLabelRecorderNode

    values = {
        'cameras': list(CAMERAS),
        'dataset': str(folder / 'set'),
        'calibration_file': str(_calibration(folder / 'calibration.yaml')),
        'disk.min_free_gb': 0.0,
        'inputs.depth': 100,
        **{f'gates.{name}': 0.0 for name in GATES},
    }
    rclpy.init()
    node = PseudoLabelRecorderNode(
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
    )
    sensors = _Sensors(rclpy.create_node('sensors'))
    for transition in (node.trigger_configure, node.trigger_activate):
        transition()
        if node.failure:
            raise RuntimeError(node.failure)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(sensors.node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    seconds, resident = [], []
    try:
        sensors.wait_until_heard()
        for index in range(-(-images // len(CAMERAS))):
            began = time.monotonic()
            sensors.send(index)
            while (index + 1) * len(CAMERAS) - node.summary()['recorded'] > AHEAD:
                if time.monotonic() - began > LIMIT_S:
                    raise RuntimeError(f'sweep {index} became no frames: {node.summary()}')
                time.sleep(0.001)
            seconds.append(time.monotonic() - began)
            resident.append(_resident_bytes())
        lost = node.summary()['dropped']
        if lost:
            raise RuntimeError(f'images were lost: {lost}')
    finally:
        executor.shutdown()
        thread.join()
        node.trigger_shutdown()
        node.destroy_node()
        sensors.node.destroy_node()
        rclpy.shutdown()
    return seconds, resident


class _Sensors:
    """Publishes three cameras, a LiDAR and odometry of a vehicle at 5 m/s that faces a wall."""

    def __init__(self, node: Any) -> None:
        from nav_msgs.msg import Odometry
        from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
        from std_msgs.msg import Header

        from drive_segment_ros.ros.point_cloud2 import point_cloud2

        self.node = node
        kinds = {'points': PointCloud2, 'odom': Odometry}
        for name in CAMERAS:
            kinds |= {
                f'{name}/image_raw/compressed': CompressedImage,
                f'{name}/camera_info': CameraInfo,
            }
        self._publishers = {
            topic: node.create_publisher(kind, topic, 100) for topic, kind in kinds.items()
        }
        self._cloud = point_cloud2(_sweep(), Header())
        pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        self._image = CompressedImage(
            format='jpeg', data=cv2.imencode('.jpg', pixels)[1].tobytes()
        )
        self._odometry = Odometry(child_frame_id='base_link')
        self._odometry.pose.pose.orientation.w = 1.0
        self._info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob')
        middle = (WIDTH / 2, HEIGHT / 2)
        self._info.k = [FOCAL, 0.0, middle[0], 0.0, FOCAL, middle[1], 0.0, 0.0, 1.0]
        self._info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        self._info.p = [FOCAL, 0.0, middle[0], 0.0, 0.0, FOCAL, middle[1], 0.0, 0.0, 0.0, 1.0, 0.0]

    def wait_until_heard(self) -> None:
        """Wait for the node's subscriptions: earlier messages would be lost."""
        deadline = time.monotonic() + LIMIT_S
        while not all(p.get_subscription_count() for p in self._publishers.values()):
            if time.monotonic() > deadline:
                raise RuntimeError('the node does not subscribe')
            time.sleep(0.05)
        time.sleep(1.0)

    def send(self, index: int) -> None:
        """Publish the messages of all sensors in period `index`."""
        stamp_ns = START_NS + index * PERIOD_NS
        for moment_ns in (stamp_ns, stamp_ns + PERIOD_NS // 2):
            self._odometry.pose.pose.position.x = (moment_ns - START_NS) * 5e-9
            self._publish('odom', self._odometry, moment_ns, 'odom')
        for name in CAMERAS:
            self._publish(f'{name}/camera_info', self._info, stamp_ns, name)
            image_ns = stamp_ns + PERIOD_NS // 2
            self._publish(f'{name}/image_raw/compressed', self._image, image_ns, name)
        self._publish('points', self._cloud, stamp_ns, 'lidar')

    def _publish(self, topic: str, message: Any, stamp_ns: int, frame: str) -> None:
        message.header.frame_id = frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self._publishers[topic].publish(message)


def _sweep() -> np.ndarray:
    """Return a sweep of flat ground and a wall 12 m ahead, (N,) with x y z intensity t ring."""
    elevation = np.radians(np.linspace(8.0, -20.0, BEAMS))[:, None]
    azimuth = np.radians(np.arange(COLUMNS) * 360.0 / COLUMNS - 180.0)[None, :]
    with np.errstate(divide='ignore'):
        ground = np.where(elevation < 0, -1.8 / np.sin(elevation), np.inf) + 0.0 * azimuth
        ahead = np.where(np.cos(azimuth) > 0.1, 12.0 / np.cos(azimuth), np.inf) + 0.0 * elevation
    distance = np.minimum(np.minimum(ground, ahead), 50.0)
    fields = [(name, '<f4') for name in ('x', 'y', 'z', 'intensity', 't')]
    points = np.zeros((BEAMS, COLUMNS), [*fields, ('ring', '<u2')])
    points['x'] = distance * np.cos(elevation) * np.cos(azimuth)
    points['y'] = distance * np.cos(elevation) * np.sin(azimuth)
    points['z'] = distance * np.sin(elevation)
    points['t'] = np.arange(COLUMNS) / COLUMNS * 0.1
    points['ring'] = np.arange(BEAMS)[:, None]
    return points.reshape(-1)


def _calibration(path: Path) -> Path:
    from drive_segment_ros.perception.calibration import save_calibration
    from drive_segment_ros.perception.transforms import TransformTree

    tree = TransformTree()
    T_base_lidar = np.eye(4)
    T_base_lidar[2, 3] = 1.8
    tree.set('base_link', 'lidar', T_base_lidar)
    for name, yaw_deg in zip(CAMERAS, (0.0, 45.0, -45.0), strict=True):
        c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
        T = np.eye(4)
        T[:3, :3] = [[s, 0, c], [-c, 0, s], [0, -1, 0]]
        tree.set('lidar', name, T)
    save_calibration(path, tree, {})
    return path


def _resident_bytes() -> int:
    pages = Path('/proc/self/statm').read_text(encoding='ascii').split()[1]
    return int(pages) * 4096
