"""Overlays with their legend as a video."""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.perception.legend import legend, with_legend
from drive_segment_ros.perception.masks import colour_table, overlay
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import open_drive
from offline_training.bags import sensors
from offline_training.common.classes import ClassName
from offline_training.deploy.mask_files import MaskFiles
from offline_training.deploy.video_writer import VideoWriter
from offline_training.evaluation.bag_images import BagImages
from offline_training.evaluation.image_part import ImagePart
from offline_training.evaluation.image_sources import VIDEO_SUFFIXES, image_parts, is_bag

_OPACITY = 0.5
# Rate of images without times.
_RATE_HZ = 10.0
_LOOKED_AT = 100


@dataclasses.dataclass(frozen=True)
class ImageStream:
    """The images of one video.

    Attributes:
        name: of the video, without suffix.
        parts: of them, in order.
        rate_hz: images per second.
        masks: folder of their masks, relative to those of the input.
    """

    name: str
    parts: Sequence[ImagePart]
    rate_hz: float
    masks: str = ''


def videos_of(
    source: Path | Sequence[Path], folder: Path, without: Sequence[Path]
) -> list[ImageStream]:
    """Return the videos of an input: one, or one for each camera of a drive.

    Args:
        source, without: as for `image_parts`.
        folder: of the input among several.

    Raises:
        BagError, ImageError: if the input cannot be read.
    """
    one = source if isinstance(source, Path) else source[0]
    bags = (source,) if isinstance(source, Path) else tuple(source)
    if is_bag(one):
        return _of_drive(bags, folder)
    rate = _video_rate(one) if one.suffix.lower() in VIDEO_SUFFIXES else _RATE_HZ
    name = str(folder) if folder != Path() else one.resolve().stem
    return [ImageStream(name, image_parts(one, without), rate)]


def write_mask_video(
    stream: ImageStream,
    masks: MaskFiles,
    classes: Sequence[ClassName],
    target: Path,
    advance: Callable[[int], None],
) -> int:
    """Write a video: a frame for each image that has a mask, with one legend.

    Args:
        stream: the images.
        masks: of the input.
        classes: of the labels.
        target: the file.
        advance: called with the number of images done.

    Returns:
        The number of frames.

    Raises:
        OutputError: if it cannot be written.
    """
    table = colour_table([item.color for item in classes])
    entries = legend(masks.counts(stream.masks), classes)
    count = 0
    with VideoWriter(target, stream.rate_hz) as video:
        for part in stream.parts:
            for name, image in part.images([], masks.has):
                painted = overlay(image, masks.read(name).label, table, _OPACITY)
                video.add(with_legend(painted, entries))
                count += 1
                advance(1)
    return count


def _of_drive(bags: tuple[Path, ...], folder: Path) -> list[ImageStream]:
    with open_drive(bags) as reader:
        topics = {topic.name: topic.count for topic in sensors.cameras(reader)}
        rates = {topic: _drive_rate(reader, topic) for topic in topics}
        start_ns = reader.start_ns
    names, run = camera_names(topics), uuid.uuid4().hex
    return [
        ImageStream(
            str(folder / names[topic]),
            [BagImages(bags, (topic,), start_ns, None, count, run)],
            rates[topic],
            topic.strip('/'),
        )
        for topic, count in topics.items()
    ]


def _drive_rate(reader: BagReader, topic: str) -> float:
    """Return the usual rate of a topic, by its first messages."""
    first = itertools.islice(reader.messages([topic]), _LOOKED_AT)
    stamps = [message.bag_stamp_ns for message in first]
    gap_s = 1e-9 * float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    return 1.0 / gap_s if gap_s > 0.0 else _RATE_HZ


def _video_rate(video: Path) -> float:
    capture = cv2.VideoCapture(str(video))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or _RATE_HZ
    finally:
        capture.release()
