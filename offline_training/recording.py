"""What a bag offers to extraction: which topics are the sensors, and how they are calibrated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bag_storage import default_type_store
from drive_segment_ros.ros.bags import BagReader, Topic

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
ODOMETRY = 'nav_msgs/msg/Odometry'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'

_STATIC = 'tf_static'
_TRANSPORT = '/compressed'
# Depths, by image_transport's naming; no pictures.
_DEPTH = '/compressedDepth'


def cameras(reader: BagReader) -> list[Topic]:
    """Return the image topics, one per camera: of a raw and a compressed copy the compressed."""
    images = of_type(reader, IMAGE, COMPRESSED_IMAGE)
    names = {topic.name for topic in images}
    return [
        topic
        for topic in images
        if topic.name + _TRANSPORT not in names and not topic.name.endswith(_DEPTH)
    ]


def lidars(reader: BagReader) -> list[Topic]:
    """Return the point cloud topics."""
    return of_type(reader, POINT_CLOUD)


def of_type(reader: BagReader, *types: str) -> list[Topic]:
    """Return the topics of some types that have messages, by name."""
    return [topic for topic in reader.topics.values() if topic.type in types and topic.count]


def choose_camera(reader: BagReader, wanted: str = '') -> Topic:
    """Return the camera asked for, or the only one.

    Args:
        reader: the open bag.
        wanted: an image topic or the namespace it is in; empty if there is but one.

    Raises:
        BagError: if there is none, several to choose from, or not the one wanted.
    """
    what = 'camera images (sensor_msgs Image or CompressedImage)'
    everything = of_type(reader, IMAGE, COMPRESSED_IMAGE)
    exact = [topic for topic in everything if topic.name == wanted]
    return exact[0] if exact else _choose(reader, cameras(reader), wanted, what, '--camera')


def choose_lidar(reader: BagReader, wanted: str = '') -> Topic:
    """Return the LiDAR asked for, or the only one.

    Raises:
        BagError: if there is none, several to choose from, or not the one wanted.
    """
    return _choose(reader, lidars(reader), wanted, 'LiDAR sweeps (PointCloud2)', '--lidar')


def camera_info_topic(reader: BagReader, image_topic: str) -> str | None:
    """Return the camera_info topic that goes with an image topic, by ROS's naming."""
    raw = image_topic.removesuffix(_TRANSPORT)
    for namespace in (raw.rpartition('/')[0], raw):
        topic = reader.topics.get(f'{namespace}/camera_info')
        if topic is not None and topic.type == CAMERA_INFO and topic.count:
            return topic.name
    return None


def camera_info_bytes(model: CameraModel) -> bytes:
    """Return a camera model as an encoded sensor_msgs/CameraInfo."""
    store = default_type_store()
    types = store.types
    time = types['builtin_interfaces/msg/Time'](sec=0, nanosec=0)
    message = types[CAMERA_INFO](
        header=types['std_msgs/msg/Header'](stamp=time, frame_id=model.frame_id),
        height=model.height,
        width=model.width,
        distortion_model=model.distortion_model,
        d=model.D,
        k=model.K.reshape(9),
        r=model.R.reshape(9),
        p=model.P.reshape(12),
        binning_x=0,
        binning_y=0,
        roi=types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )
    return bytes(store.serialize_cdr(message, CAMERA_INFO))


def first_whole(reader: BagReader, topic: Topic) -> Any:
    """Return the first message of a topic that can be decoded.

    Raises:
        BagError: if none can.
    """
    for message in reader.messages([topic.name]):
        with contextlib.suppress(BagError):
            return reader.deserialize(message.raw, topic.type)
    raise BagError(f'{reader.path}: no message of {topic.name} can be read')


def static_transforms(reader: BagReader) -> TransformTree:
    """Return all transforms of the bag's `tf_static`.

    Raises:
        CalibrationError: if one of them is no rigid transform.
    """
    tree = TransformTree()
    names = [t.name for t in of_type(reader, TRANSFORMS) if t.name.endswith(_STATIC)]
    for message in reader.messages(names):
        for transform in reader.deserialize(message.raw, TRANSFORMS).transforms:
            try:
                tree.set_message(transform)
            except CalibrationError as err:
                raise CalibrationError(f'{reader.path}: {message.topic}: {err}') from err
    return tree


def odometry_topics(reader: BagReader) -> list[str]:
    """Return the topics that may hold the vehicle's motion: odometry if recorded, else tf."""
    odometry = [topic.name for topic in of_type(reader, ODOMETRY)]
    return odometry[:1] or [
        topic.name for topic in of_type(reader, TRANSFORMS) if not topic.name.endswith(_STATIC)
    ]


def frames_of(message: Any) -> Iterator[tuple[str, str]]:
    """Yield parent and child of every transform in a tf message."""
    for transform in message.transforms:
        yield transform.header.frame_id.lstrip('/'), transform.child_frame_id.lstrip('/')


def _choose(
    reader: BagReader, topics: Sequence[Topic], wanted: str, what: str, option: str
) -> Topic:
    names = [topic.name for topic in topics]
    if not topics:
        raise BagError(f'{reader.path} has no {what}; it has {", ".join(reader.topics) or "none"}')
    if wanted:
        prefix = wanted.rstrip('/')
        topics = [t for t in topics if t.name == prefix or t.name.startswith(prefix + '/')]
        if not topics:
            raise BagError(f'{reader.path} has no {wanted}; of {what} it has {", ".join(names)}')
    if len(topics) > 1:
        names = [topic.name for topic in topics]
        raise BagError(
            f'{reader.path} has {len(topics)} topics of {what}: {", ".join(names)}; '
            f'choose one with {option}'
        )
    return topics[0]
