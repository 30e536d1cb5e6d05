"""Fixtures that write a small synthetic bag: a walled yard, cameras, one LiDAR, odometry."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# So that tests and their workers can import `engine_jobs.py`.
sys.path.insert(0, str(Path(__file__).parents[1] / 'common'))

SECOND = 1_000_000_000
START = 1_000 * SECOND
PERIOD = SECOND // 10
WIDTH, HEIGHT, FOCAL = 160, 120, 100.0
# Sweeps are stamped at their end; the LiDAR passes the camera's view half a revolution earlier.
SWEEP_AFTER_IMAGE = PERIOD // 2

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(get_types_from_msg('uint8[] data', 'my_msgs/msg/Own'))

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, CLOUD = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2'
TF, ODOMETRY = 'tf2_msgs/msg/TFMessage', 'nav_msgs/msg/Odometry'
ODOMETRY_PARTS = [
    'Point',
    'Quaternion',
    'Pose',
    'PoseWithCovariance',
    'Vector3',
    'Twist',
    'TwistWithCovariance',
]
POINT = np.dtype([(n, '<f4') for n in ('x', 'y', 'z', 'intensity', 't')] + [('ring', '<u2')])
# Quaternion (x, y, z, w) of an optical frame (z ahead, x right) in a LiDAR frame with x ahead.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)

MakeBag = Callable[..., Path]


@pytest.fixture(scope='session')
def bag_writer() -> MakeBag:
    """Return `write_bag` for fixtures of module or session scope."""
    return write_bag


@pytest.fixture
def make_bag(tmp_path: Path) -> MakeBag:
    """Return a function that writes a bag below `tmp_path`, with the options of `write_bag`."""

    def make(name: str = 'drive', **options: Any) -> Path:
        return write_bag(tmp_path / name, **options)

    return make


def write_bag(
    path: Path,
    count: int = 4,
    cameras: tuple[str, ...] = ('/camera/front',),
    compressed: bool = True,
    info: bool = True,
    calibrated: bool = True,
    info_frame: bool = True,
    only_p: bool = False,
    transforms: bool = True,
    odometry: bool = True,
    lidar: bool = True,
    trailer: bool = False,
    cloud: Callable[[np.ndarray], np.ndarray] = lambda points: points,
    stamp: Callable[[int], int] = lambda stamp_ns: stamp_ns,
    sweep_stamp: Callable[[int], int] = lambda stamp_ns: stamp_ns,
    bag_stamp: Callable[[int], int] = lambda stamp_ns: stamp_ns,
    extra_type: bool = False,
    cut: tuple[str, int] = ('', 0),
    kept: int = 0,
    zeros_first: bool = False,
    odometry_frame: str = 'odom',
    image: Callable[[Any, np.ndarray], None] = lambda message, pixels: None,
    sweep: Callable[[Any, int], None] = lambda message, number: None,
    image_name: str = 'image_raw',
    odometries: Sequence[tuple[str, str, str, float]] = (),
    change: Callable[[str, Any], None] = lambda topic, message: None,
) -> Path:
    """Write a bag of `count` sweeps, and `count` images per camera, at 10 Hz.

    Args:
        path: folder of the bag.
        count: number of sweeps, and of images per camera.
        cameras: camera namespaces.
        compressed: JPEG instead of raw images.
        info, calibrated, info_frame: whether camera_info is written, has a calibration, and has a
            frame_id.
        only_p: leave K zero in camera_info; P is set.
        transforms, odometry: whether /tf_static and /tf are written.
        lidar: whether sweeps are written.
        trailer: whether /tf also has the frame `trailer`, beside base_link.
        cloud: maps the points of a sweep, a structured array, to those written in all sweeps.
        stamp, sweep_stamp: map the header stamps of images and sweeps, ns.
        bag_stamp: maps the bag stamps of all messages, ns.
        extra_type: add a topic of an unknown message type.
        cut: topic and index of a message that is truncated.
        kept: bytes kept of that message; 0 for half of it.
        zeros_first: the first camera_info has no calibration.
        odometry_frame: parent frame of the transforms in /tf.
        image: modifies an image message, given the message and its pixels.
        sweep: modifies the message of a sweep, given the message and its index.
        image_name: name of the image topics in the camera namespace.
        odometries: nav_msgs/Odometry topics: topic, parent frame, child frame, speed in m/s.
        change: modifies any message before it is written, given topic and message.
    """
    types = STORE.types
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def topic(name: str, kind: str) -> Callable[[int, Any], None]:
            connection = writer.add_connection(name, kind, typestore=STORE)
            numbers = itertools.count()

            def publish(at: int, message: Any) -> None:
                change(name, message)
                data = STORE.serialize_cdr(message, kind)
                whole = (name, next(numbers)) != cut
                writer.write(
                    connection, bag_stamp(at), data if whole else data[: kept or len(data) // 2]
                )

            return publish

        def header(stamp_ns: int, frame: str) -> Any:
            time = types['builtin_interfaces/msg/Time'](
                sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND
            )
            return types['std_msgs/msg/Header'](stamp=time, frame_id=frame)

        def odometry_message(stamp_ns: int, parent: str, child: str, x: float) -> Any:
            still = {name: types[f'geometry_msgs/msg/{name}'] for name in ODOMETRY_PARTS}
            zero = {'x': 0.0, 'y': 0.0, 'z': 0.0}
            pose = still['Pose'](
                position=still['Point'](**zero | {'x': x}),
                orientation=still['Quaternion'](**zero, w=1.0),
            )
            twist = still['Twist'](
                linear=still['Vector3'](**zero), angular=still['Vector3'](**zero)
            )
            return types[ODOMETRY](
                header=header(stamp_ns, parent),
                child_frame_id=child,
                pose=still['PoseWithCovariance'](pose=pose, covariance=np.zeros(36)),
                twist=still['TwistWithCovariance'](twist=twist, covariance=np.zeros(36)),
            )

        def transform(stamp_ns: int, parent: str, child: str, xyz: Any, xyzw: Any) -> Any:
            return types['geometry_msgs/msg/TransformStamped'](
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=types['geometry_msgs/msg/Transform'](
                    translation=types['geometry_msgs/msg/Vector3'](
                        **dict(zip('xyz', xyz, strict=True))
                    ),
                    rotation=types['geometry_msgs/msg/Quaternion'](
                        **dict(zip('xyzw', xyzw, strict=True))
                    ),
                ),
            )

        if transforms:
            links = [
                transform(START, 'base_link', 'lidar', (0.0, 0.0, 1.8), (0.0, 0.0, 0.0, 1.0)),
                *(
                    transform(START, 'lidar', f'optical{k}', (0.2, 0.0, -0.2), OPTICAL)
                    for k in range(len(cameras))
                ),
            ]
            topic('/tf_static', TF)(START, types[TF](transforms=links))
        suffix = '/compressed' if compressed else ''
        kind = COMPRESSED if compressed else IMAGE
        images = [topic(f'{camera}/{image_name}{suffix}', kind) for camera in cameras]
        infos = [topic(f'{camera}/camera_info', INFO) for camera in cameras] if info else []
        sweeps = topic('/points', CLOUD) if lidar else None
        poses = topic('/tf', TF) if odometry else None
        moving = [(topic(name, ODOMETRY), *frames) for name, *frames in odometries]
        if extra_type:
            topic('/own', 'my_msgs/msg/Own')(
                START, types['my_msgs/msg/Own'](data=np.zeros(3, np.uint8))
            )
        points = cloud(room())
        for k in range(count):
            at = START + k * PERIOD
            for camera, publish in enumerate(images):
                pixels = picture(k)
                message = _image(header(stamp(at), f'optical{camera}'), pixels, compressed)
                image(message, pixels)
                publish(at, message)
            for camera, publish in enumerate(infos):
                frame = f'optical{camera}' if info_frame else ''
                told = _camera_info(
                    header(stamp(at), frame), calibrated and (k > 0 or not zeros_first)
                )
                told.k[:] *= not only_p
                publish(at, told)
            sweep_at = at + SWEEP_AFTER_IMAGE
            for publish, parent, child, speed in moving:
                for pose_at in (at - PERIOD, at, sweep_at):
                    x = speed * (pose_at - START) / SECOND
                    publish(max(at, pose_at), odometry_message(pose_at, parent, child, x))
            if poses is not None:
                for pose_at in (at - PERIOD, at, sweep_at):
                    ahead = (pose_at - START) / SECOND
                    moved = [
                        transform(
                            pose_at, odometry_frame, child, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
                        )
                        for child, x in (('base_link', ahead), ('trailer', ahead - 9.0))
                        if trailer or child == 'base_link'
                    ]
                    poses(max(at, pose_at), types[TF](transforms=moved))
            if sweeps is not None:
                message = _cloud(header(sweep_stamp(sweep_at), 'lidar'), points)
                sweep(message, k)
                sweeps(sweep_at, message)
    return path


def room() -> np.ndarray:
    """Return a sweep of 32 beams in a walled yard: (N,) structured, ground 1.8 m below."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(10, -25, 32)), np.radians(np.arange(-180, 180, 0.5)), indexing='ij'
    )
    ray = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    with np.errstate(divide='ignore'):
        reach = np.minimum(
            np.minimum(15.0 / abs(ray[0]), 9.0 / abs(ray[1])),
            np.where(ray[2] < 0, 1.8 / -ray[2], np.inf),
        )
    points = np.zeros(elevation.size, POINT)
    for name, axis in zip('xyz', ray, strict=True):
        points[name] = (axis * reach).ravel()
    points['t'] = ((azimuth / (2 * np.pi) - 0.5) * 0.1).ravel()
    points['ring'] = np.repeat(np.arange(32), azimuth.shape[1])
    return points


def picture(k: int) -> np.ndarray:
    """Return the pixels of image `k`, (H, W, 3) uint8 BGR."""
    pixels = np.full((HEIGHT, WIDTH, 3), (200, 160, 120), np.uint8)
    pixels[HEIGHT // 2 :] = (90, 90, 90)
    pixels[HEIGHT // 2 - 10 : HEIGHT // 2 + 20, 20 + k : 60 + k] = (40, 60, 180)
    return pixels


def _image(header: Any, pixels: np.ndarray, compressed: bool) -> Any:
    if compressed:
        data = cv2.imencode('.jpg', pixels)[1].reshape(-1)
        return STORE.types[COMPRESSED](header=header, format='jpeg', data=data)
    return STORE.types[IMAGE](
        header=header,
        height=HEIGHT,
        width=WIDTH,
        encoding='bgr8',
        is_bigendian=0,
        step=WIDTH * 3,
        data=pixels.reshape(-1),
    )


def _camera_info(header: Any, calibrated: bool) -> Any:
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]) * calibrated
    P = np.column_stack([K, np.zeros(3)])
    return STORE.types[INFO](
        header=header,
        height=HEIGHT,
        width=WIDTH,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=K.reshape(9).astype(np.float64),
        r=np.eye(3).reshape(9),
        p=P.reshape(12).astype(np.float64),
        binning_x=0,
        binning_y=0,
        roi=STORE.types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )


def _cloud(header: Any, points: np.ndarray) -> Any:
    field = STORE.types['sensor_msgs/msg/PointField']
    codes = {'<f4': 7, '<u2': 4, '<f8': 8, '<i4': 5, '<u8': 10}
    names = points.dtype.names or ()
    return STORE.types[CLOUD](
        header=header,
        height=1,
        width=len(points),
        fields=[
            field(
                name=name,
                offset=points.dtype.fields[name][1],
                datatype=codes[points.dtype[name].str],
                count=1,
            )
            for name in names
        ],
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )
