"""The plan of an extraction: properties of a recording, found once for all workers."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.errors import BagError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.ros.joined_bags import open_drive
from offline_training.bags import sensors
from offline_training.bags.bag_rig import BagRig, find_rig
from offline_training.common.frame_selection import parse_slice

_SECOND_NS = 1_000_000_000
# Time from a camera's first image in which its offset is estimated, else it is 0.
_LOOKED_AT_NS = 15 * _SECOND_NS
# A part may miss the last message before it if the topic has a longer period.
_RARE_NS = 2 * _SECOND_NS
# Limits of a part's duration. Each part also reads some seconds before its start, so that short
# ones are inefficient; long ones lose more work if a worker dies.
_SHORTEST_NS, _LONGEST_NS = _SECOND_NS, 10 * _SECOND_NS
# With fewer images than one in this time, a recording has gaps, as when its clock was set.
_SPARSE_NS = 10 * _SECOND_NS


@dataclasses.dataclass(frozen=True)
class PlanJob:
    """A recording to extract.

    Attributes:
        bags: the bag, or the bags that are its parts.
        cameras, lidar, odometry, calibration: see `find_rig`.
        params: parameters of frames.
        origin: record of the bag's import, for `drive.json`; None for bags that were not imported.
        frames: range of the first camera's images, FIRST:LAST, which selects the time range to
            extract; empty for all.
    """

    bags: tuple[Path, ...]
    cameras: tuple[str, ...]
    lidar: str
    odometry: str
    calibration: Path | None
    params: FrameParameters
    origin: Mapping[str, Any] | None = None
    frames: str = ''


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """The plan of a recording, sent to all workers.

    Attributes:
        bags: the bag, or the bags that are its parts.
        name: for messages.
        params: parameters of frames.
        origin: see `PlanJob`.
        rig: of the recording, without the open bag.
        offsets: of each camera, seconds.
        start_ns, end_ns: bag stamps of the first and the last message.
        first_ns, last_ns: bag stamps of the first and the last selected message.
        spans: bag stamps of the first and the last message of each stretch without long gaps.
        images: number of selected images of all cameras.
        damage: what cannot be read, one line each.
        divisible: whether parts can be processed without the messages before them.
    """

    bags: tuple[Path, ...]
    name: str
    params: FrameParameters
    origin: Mapping[str, Any] | None
    rig: BagRig
    offsets: dict[str, float]
    start_ns: int
    end_ns: int
    first_ns: int
    last_ns: int
    spans: list[tuple[int, int]]
    images: int
    damage: list[str]
    divisible: bool


def plan_drive(job: PlanJob) -> DrivePlan:
    """Plan the extraction of a recording.

    Raises:
        DriveSegmentError: if it cannot be read or lacks a sensor, no camera can be used, or no
            frame is wanted.
    """
    with open_drive(job.bags) as reader:
        rig = find_rig(reader, job.params, job.cameras, job.lidar, job.odometry, job.calibration)
        first_ns, last_ns, images = _wanted(rig, job.frames)
        return DrivePlan(
            job.bags,
            str(reader),
            job.params,
            job.origin,
            dataclasses.replace(rig, reader=None),
            find_offsets(rig),
            reader.start_ns,
            reader.end_ns,
            first_ns,
            last_ns,
            _spans(rig, first_ns, last_ns, images),
            images,
            list(reader.damage),
            not rig.moving and all(_is_lasting(rig, name) for name in rig.cameras),
        )


def bounds(plan: DrivePlan, parallel: int) -> list[int]:
    """Return the bag stamps at which the parts of a recording start, and the end of the last one.

    Args:
        plan: of the recording.
        parallel: number of jobs that run at a time, all of which a short recording should use.
    """
    end_ns = plan.spans[-1][1] + 1
    if not plan.divisible:
        return [plan.spans[0][0], end_ns]
    lengths = [last_ns + 1 - first_ns for first_ns, last_ns in plan.spans]
    whole = sum(lengths)
    # A multiple of the number of jobs that run at a time.
    count = parallel * math.ceil(whole / (_LONGEST_NS * parallel))
    count = max(min(count, whole // _SHORTEST_NS), 1)
    starts: list[int] = []
    for (first_ns, _), length in zip(plan.spans, lengths, strict=True):
        share = max(round(count * length / whole), 1)
        starts += [first_ns + length * number // share for number in range(share)]
    return [*starts, end_ns]


def find_offsets(rig: BagRig) -> dict[str, float]:
    """Return the offset of each camera's stamps, seconds; estimated as in the live nodes."""
    offsets: dict[str, float] = {}
    for begin_ns in _beginnings(rig):
        missing = {name: c for name, c in rig.cameras.items() if name not in offsets}
        if not missing:
            break
        looking = dataclasses.replace(rig, cameras=missing)
        stream = looking.stream()
        for bag_ns, event in looking.events(begin_ns):
            stream.push(event)
            if len(_found(stream)) == len(missing) or bag_ns - begin_ns > _LOOKED_AT_NS:
                break
        else:
            stream.finish()
        offsets |= _found(stream)
    return {name: offsets.get(name, 0.0) for name in rig.cameras}


def _wanted(rig: BagRig, frames: str) -> tuple[int, int, int]:
    """Return the bag stamps of the first and last selected message, and the number of images."""
    reader = rig.opened
    images = sum(camera.topic.count for camera in rig.cameras.values())
    chosen = parse_slice(frames)
    if chosen == slice(None):
        return reader.start_ns, reader.end_ns, images
    topic = next(iter(rig.cameras.values())).topic.name
    stamps = [message.bag_stamp_ns for message in reader.messages([topic])]
    wanted = stamps[chosen]
    if not wanted:
        raise BagError(f'{reader}: frames {frames} select none of the {len(stamps)} of {topic}')
    return wanted[0], wanted[-1], round(images * len(wanted) / len(stamps))


def _spans(rig: BagRig, first_ns: int, last_ns: int, images: int) -> list[tuple[int, int]]:
    """Return the stretches without long gaps in a selection of a recording, see `DrivePlan`."""
    if last_ns - first_ns <= images * _SPARSE_NS:
        return [(first_ns, last_ns)]
    spans: list[tuple[int, int]] = []
    topics = [rig.lidar, *(camera.topic.name for camera in rig.cameras.values())]
    for message in rig.opened.messages(topics, first_ns, last_ns + 1):
        at_ns = message.bag_stamp_ns
        if spans and at_ns - spans[-1][1] <= _SPARSE_NS:
            spans[-1] = (spans[-1][0], at_ns)
        else:
            spans.append((at_ns, at_ns))
    return spans or [(first_ns, first_ns)]


def _found(stream: FrameStream) -> dict[str, float]:
    cameras = stream.cameras.items()
    return {name: c.offset.value_s for name, c in cameras if c.offset.value_s is not None}


def _beginnings(rig: BagRig) -> Iterator[int]:
    """Yield the bag stamps to estimate offsets from: the start, and each camera's first image."""
    reader = rig.opened
    yield reader.start_ns
    for camera in rig.cameras.values():
        for message in itertools.islice(reader.messages([camera.topic.name]), 1):
            yield message.bag_stamp_ns


def _is_lasting(rig: BagRig, name: str) -> bool:
    """Return whether every part has a camera's calibration: it is frequent, or never changes."""
    reader, camera = rig.opened, rig.cameras[name]
    topic = reader.topics.get(camera.info_topic)
    if topic is None or topic.count * _RARE_NS > reader.end_ns - reader.start_ns:
        return True
    found: set[tuple[bytes, ...]] = set()
    for message in reader.messages([topic.name]):
        with contextlib.suppress(BagError):  # skip a damaged message
            info = reader.deserialize(message.raw, sensors.CAMERA_INFO)
            found.add(
                tuple(np.asarray(part).tobytes() for part in (info.k, info.d, info.r, info.p))
            )
    return len(found) <= 1
