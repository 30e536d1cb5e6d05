"""A drive's masks as a bag, as the segmentation node would publish them."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.perception.cameras import is_rectified
from drive_segment_ros.ros.bags import BagMessage, BagReader, peek_stamp_ns
from drive_segment_ros.ros.image_size import image_size, reduction
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.joined_bags import open_drive
from drive_segment_ros.ros.mask_info import mask_camera
from drive_segment_ros.ros.video import VIDEO_TYPES, VideoStream
from offline_training.bags import sensors
from offline_training.bags.calibrated_cameras import first_camera_info, is_calibrated
from offline_training.common.bag_recording import Recording
from offline_training.common.classes import ClassName
from offline_training.deploy.mask_files import MaskFiles
from offline_training.deploy.mask_messages import LABEL, POINTS, MaskMessages, camera_namespaces
from offline_training.deploy.painted_sweeps import painted_sweeps
from offline_training.evaluation.bag_images import ImageNames

_log = logging.getLogger(__name__)

_RECTIFIED = 'auto'


class _Timed(NamedTuple):
    """A message to write."""

    bag_stamp_ns: int
    topic: str
    message: Any


def write_mask_bag(
    bags: Sequence[Path],
    masks: MaskFiles,
    classes: Sequence[ClassName],
    target: Path,
    merge: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """Write masks, their calibration and classes, and painted clouds if there is a LiDAR.

    Each message has the header stamp and frame of its image or sweep. Its bag stamp is that of the
    image; for a cloud that of the message that completed the pair.

    Args:
        bags: the drive.
        masks: of its images.
        classes: of the labels.
        target: folder to create.
        merge: whether the messages of the drive are also copied.
        advance: called with the number of images done.

    Returns:
        The numbers of `masks` and `clouds` written.

    Raises:
        BagError: if the drive cannot be read.
    """
    count = {'masks': 0, 'clouds': 0}
    # Each reads the drive separately.
    with (
        open_drive(bags) as for_masks,
        open_drive(bags) as for_clouds,
        open_drive(bags) as originals,
        Recording(target, compressed=True) as recording,
    ):
        topics = [topic.name for topic in sensors.cameras(for_masks)]
        namespaces = camera_namespaces(topics)
        messages = MaskMessages(classes, recording.make)
        streams: list[Iterator[_Timed | BagMessage]] = [
            _meanings(for_masks.start_ns, messages, namespaces),
            _masks(for_masks, masks, messages, namespaces),
            _clouds(for_clouds, masks, messages, namespaces),
        ]
        if merge:
            streams.append(_originals(originals, namespaces))
        for item in heapq.merge(*streams, key=lambda item: item.bag_stamp_ns):
            if isinstance(item, BagMessage):
                recording.copy(originals, item)
            else:
                recording.add(item.topic, item.message, item.bag_stamp_ns)
                count['masks'] += item.topic.endswith(LABEL)
                count['clouds'] += item.topic.endswith(POINTS)
                advance(int(item.topic.endswith(LABEL)))
            recording.write_until(item.bag_stamp_ns)
    return count


def _meanings(
    start_ns: int, messages: MaskMessages, namespaces: dict[str, str]
) -> Iterator[_Timed]:
    """Yield the classes of the labels, for each camera."""
    for namespace in sorted(namespaces.values()):
        topic, message = messages.meaning(start_ns)
        yield _Timed(start_ns, f'{namespace}/{topic}', message)


def _masks(
    reader: BagReader, masks: MaskFiles, messages: MaskMessages, namespaces: dict[str, str]
) -> Iterator[_Timed]:
    """Yield each image's mask, in all forms, and its calibration."""
    infos = {topic: _first_info(reader, topic) for topic in namespaces}
    info_topics = {topic: sensors.camera_info_topic(reader, topic) or '' for topic in namespaces}
    videos = {t: VideoStream() for t in namespaces if reader.topics[t].type in VIDEO_TYPES}
    names = ImageNames()
    for message in reader.messages({*namespaces, *info_topics.values()}):
        topic, bag_ns = message.topic, message.bag_stamp_ns
        try:
            if topic not in namespaces:
                info = reader.deserialize(message.raw, message.msgtype)
                for images, info_topic in info_topics.items():
                    if info_topic == topic and is_calibrated(info, _RECTIFIED, images):
                        infos[images] = info
                continue
            name = names.next(topic, peek_stamp_ns(message.raw), bag_ns)
            image = reader.deserialize(message.raw, message.msgtype)
            if topic in videos:
                image = videos[topic].push(image)
            if not masks.has(name):
                continue
            mask = masks.read(name)
            size, fitting = image_size(image), mask.label.shape
            picture = decode_image(image, reduction(size, fitting))
            for below, made in messages.of_image(mask, image, picture):
                yield _Timed(bag_ns, f'{namespaces[topic]}/{below}', made)
            if (info := infos[topic]) is not None:
                rectified = is_rectified(_RECTIFIED, topic, info)
                camera = mask_camera(info, size or picture.shape[:2], fitting, rectified)
                for below, made in messages.of_camera(camera, image):
                    yield _Timed(bag_ns, f'{namespaces[topic]}/{below}', made)
        except DriveSegmentError as err:
            _log.warning('%s at %d: %s', topic, bag_ns, err)


def _clouds(
    reader: BagReader, masks: MaskFiles, messages: MaskMessages, namespaces: dict[str, str]
) -> Iterator[_Timed]:
    """Yield each sweep in the colours of each image it was paired with."""
    if not sensors.lidars(reader):
        return
    for bag_ns, topic, painted in painted_sweeps(reader, list(namespaces), masks):
        below, message = messages.of_sweep(painted)
        yield _Timed(bag_ns, f'{namespaces[topic]}/{below}', message)


def _originals(reader: BagReader, namespaces: dict[str, str]) -> Iterator[BagMessage]:
    """Yield a drive's messages without earlier masks and topics of unknown types."""
    ours = tuple(f'{namespace}/segmentation/' for namespace in namespaces.values())
    topics = []
    for topic in reader.topics.values():
        if not topic.readable:
            _log.warning('%s is not copied: its type %s is unknown', topic.name, topic.type)
        elif not topic.name.startswith(ours):
            topics.append(topic.name)
    yield from reader.messages(topics)


def _first_info(reader: BagReader, topic: str) -> Any:
    """Return the first calibration of a camera, None without one."""
    name = sensors.camera_info_topic(reader, topic)
    try:
        return first_camera_info(reader, name, _RECTIFIED, topic) if name else None
    except DriveSegmentError as err:
        _log.warning('%s', err)
        return None
