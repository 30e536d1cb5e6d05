"""A drive's sweeps in the colours of its masks, as painted by the segmentation node."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.paint import Mask, PaintedSweep, paint
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags.bag_rig import find_rig
from offline_training.deploy.mask_files import MaskFiles
from offline_training.evaluation.bag_images import ImageNames

_log = logging.getLogger(__name__)


def painted_sweeps(
    reader: BagReader, topics: Sequence[str], masks: MaskFiles
) -> Iterator[tuple[int, str, PaintedSweep]]:
    """Yield each sweep, painted by each image that it is paired with.

    If a drive lacks the inputs of pairing, a warning is logged, and there are none.

    Args:
        reader: the open drive.
        topics: of the images with masks.
        masks: of the drive.

    Yields:
        The bag stamp of the message that completed the pair, the image's topic, the sweep.
    """
    try:
        rig = find_rig(reader, GeometryParameters(), topics)
    except DriveSegmentError as err:
        _log.warning('no cloud is painted: %s', err)
        return
    topic_of = {camera.name: camera.topic.name for camera in rig.cameras.values()}
    stream = rig.stream(lambda reason, text: _log.warning('%s: %s', reason, text))
    names, bag_ns = ImageNames(), reader.start_ns
    for event_ns, event in rig.events():
        bag_ns = max(event_ns, bag_ns)
        if isinstance(event, Image):
            name = names.next(topic_of[event.camera], event.stamp_ns, event_ns)
            event = dataclasses.replace(event, content=(name, event.content))
        for pair in stream.push(event):
            if (painted := _painted(pair, rig.params, masks)) is not None:
                yield bag_ns, topic_of[pair.image.camera], painted
    for pair in stream.finish():
        if (painted := _painted(pair, rig.params, masks)) is not None:
            yield bag_ns, topic_of[pair.image.camera], painted


def _painted(pair: Pair, params: GeometryParameters, masks: MaskFiles) -> PaintedSweep | None:
    """Paint a pair's sweep; None if its image has no mask or shows none of its points."""
    name, picture = pair.image.content
    if not masks.has(name):
        return None
    try:
        answer = masks.read(name)
        shape = picture.size() or picture.decode(*answer.label.shape).shape[:2]
        mask = Mask(None, answer.label, answer.confidence, shape)
        image = dataclasses.replace(pair.image, content=mask)
        return paint(dataclasses.replace(pair, image=image), params)
    except DriveSegmentError as err:
        _log.warning('%s: no cloud is painted: %s', name, err)
        return None
