"""Finds the topics of the sensors in a bag."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.frame.rig import camera_names, raw_topic
from drive_segment_ros.ros.bags import BagReader, Topic
from drive_segment_ros.ros.video import VIDEO_TYPES

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
ODOMETRY = 'nav_msgs/msg/Odometry'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'

IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE, *VIDEO_TYPES)
# Copies of an image topic in order of preference: compressed files, raw images, video.
_COPIES = ('/compressed', '', '/ffmpeg', '/foxglove')
# Depth images, by image_transport's naming; these are not camera images.
_DEPTH = '/compressedDepth'
# Outputs of this package's nodes, which may have been recorded, are not sensors.
_OWN = re.compile(
    r'.*/(segmentation/(label|color|overlay|confidence)|proposals)/image_raw'
    r'|.*/(segmentation|proposals)/points'
)


def is_own(topic: str) -> bool:
    """Return whether a topic is an output of this package's nodes."""
    return _OWN.fullmatch(raw_topic(topic)) is not None


def cameras(reader: BagReader) -> list[Topic]:
    """Return the image topics, one per camera: of several copies the first of `_COPIES`."""
    images = [t for t in of_type(reader, *IMAGE_TYPES) if not t.name.endswith(_DEPTH)]
    images = [topic for topic in images if not is_own(topic.name)]
    names = {topic.name for topic in images}
    return [
        topic
        for topic in images
        if topic.name == next(n for n in _copies(topic.name) if n in names)
    ]


def _copies(name: str) -> list[str]:
    return [raw_topic(name) + copy for copy in _COPIES]


def lidars(reader: BagReader) -> list[Topic]:
    """Return the point cloud topics."""
    return [topic for topic in of_type(reader, POINT_CLOUD) if not is_own(topic.name)]


def of_type(reader: BagReader, *types: str) -> list[Topic]:
    """Return the topics of some types that have messages, by name."""
    return [topic for topic in reader.topics.values() if topic.type in types and topic.count]


def choose_cameras(reader: BagReader, wanted: Sequence[str] = ()) -> list[Topic]:
    """Return the image topics of the requested cameras, or of all, in the order of their names.

    Args:
        reader: the open bag.
        wanted: image topics, their namespaces, or names of cameras, see `camera_names`; empty for
            all cameras.

    Raises:
        BagError: if there is none, or not one that is wanted.
    """
    found = cameras(reader)
    if not found:
        topics = ', '.join(reader.topics) or 'none'
        raise BagError(
            f'{reader} has no camera images (sensor_msgs Image or CompressedImage, or '
            f'encoded video); '
            f'it has {topics}'
        )
    if not wanted:
        return found
    names = camera_names(topic.name for topic in found)
    everything = of_type(reader, *IMAGE_TYPES)
    chosen: dict[str, Topic] = {}  # one a camera, whatever its transport
    for text in wanted:
        meant = _named(text, everything, found, names)
        if not meant:
            known = ', '.join(f'{name} ({topic})' for topic, name in names.items())
            raise BagError(f'{reader} has no camera {text}; it has {known}')
        for topic in meant:
            chosen.setdefault(raw_topic(topic.name), topic)
    return [chosen[name] for name in sorted(chosen)]


def _named(
    text: str, everything: Sequence[Topic], found: Sequence[Topic], names: Mapping[str, str]
) -> list[Topic]:
    """Return the topics that a text refers to: a topic, else a namespace, else a camera's name."""
    path = '/' + text.strip('/')
    return (
        [topic for topic in everything if topic.name == text]
        or [topic for topic in found if topic.name == path or topic.name.startswith(path + '/')]
        or [topic for topic in found if names[topic.name] == text]
    )


def choose_camera(reader: BagReader, wanted: str = '') -> Topic:
    """Return the requested camera, or the only one.

    Args:
        reader: the open bag.
        wanted: see `choose_cameras`; empty if there is only one.

    Raises:
        BagError: if there is none, several to choose from, or not the one wanted.
    """
    chosen = choose_cameras(reader, [wanted] if wanted else [])
    if len(chosen) > 1:
        names = ', '.join(camera_names(topic.name for topic in chosen).values())
        raise BagError(f'{reader} has {len(chosen)} cameras: {names}; choose one with --camera')
    return chosen[0]


def choose_lidar(reader: BagReader, wanted: str = '') -> Topic:
    """Return the requested LiDAR, or the only one.

    Raises:
        BagError: if there is none, several to choose from, or not the one wanted.
    """
    return _choose(reader, lidars(reader), wanted, 'LiDAR sweeps (PointCloud2)', '--lidar')


def camera_info_topic(reader: BagReader, image_topic: str) -> str | None:
    """Return the camera_info topic that goes with an image topic, by ROS's naming."""
    raw = raw_topic(image_topic)
    for namespace in (raw.rpartition('/')[0], raw):
        topic = reader.topics.get(f'{namespace}/camera_info')
        if topic is not None and topic.type == CAMERA_INFO and topic.count:
            return topic.name
    return None


def first_whole(reader: BagReader, topic: Topic) -> Any:
    """Return the first message of a topic that can be decoded.

    Raises:
        BagError: if none can.
    """
    for message in reader.messages([topic.name]):
        with contextlib.suppress(BagError):
            return reader.deserialize(message.raw, topic.type)
    raise BagError(f'{reader}: no message of {topic.name} can be read')


def _choose(
    reader: BagReader, topics: Sequence[Topic], wanted: str, what: str, option: str
) -> Topic:
    names = [topic.name for topic in topics]
    if not topics:
        raise BagError(f'{reader} has no {what}; it has {", ".join(reader.topics) or "none"}')
    if wanted:
        prefix = wanted.rstrip('/')
        topics = [t for t in topics if t.name == prefix or t.name.startswith(prefix + '/')]
        if not topics:
            raise BagError(f'{reader} has no {wanted}; of {what} it has {", ".join(names)}')
    if len(topics) > 1:
        names = [topic.name for topic in topics]
        raise BagError(
            f'{reader} has {len(topics)} topics of {what}: {", ".join(names)}; '
            f'choose one with {option}'
        )
    return topics[0]
