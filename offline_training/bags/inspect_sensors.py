"""Checks a sensor's messages for `inspect`, with the decoders of `extract`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, CloudError, DriveSegmentError, ImageError
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.perception.clouds import (
    PointCloud,
    cloud_from_message,
    structured_view,
    unusable_fields,
    used_fields,
)
from drive_segment_ros.perception.coverage import UsualCoverage, sweep_facts
from drive_segment_ros.perception.point_times import resembles_time, time_fields
from drive_segment_ros.ros.bags import BagReader, Topic
from drive_segment_ros.ros.images import decode_image, shows_itself
from drive_segment_ros.ros.video import VIDEO_TYPES, VideoStream
from offline_training.bags.inspect_report import Problem

# Number of first messages to try, as drivers may start with invalid ones.
_EXAMPLES = 10
# The same for video, whose first key frame may come late.
_EXAMPLES_OF_VIDEO = 300
# A sweep that is published earlier than this fraction of its period after its stamp is not stamped
# at its start.
_TOO_SOON = 0.7
# Number of sweeps checked for completeness: spread over the bag, and the smallest messages.
_SWEEPS, _SMALLEST = 8, 2


def first_image(
    reader: BagReader, topic: Topic
) -> tuple[Any, NDArray[np.uint8] | None, list[Problem]]:
    """Return the first image message of a camera that `extract` can decode.

    Returns:
        The message, None if no message can be read; the picture, (H, W, 3) uint8 BGR, None if none
        of the first images can be decoded; and problems.
    """
    message, picture, failed = _first(reader, topic, decode_image, lambda _: True)
    reason = reason_of(failed[0]) if failed else ''
    problems = _failures(topic, 'image', failed, f'extract drops such images as {reason}')
    if picture is not None and hasattr(message, 'format') and not shows_itself(message):
        problems.append(
            Problem(
                f'{topic.name}: files of format {message.format!r} have wrong colours in viewers',
                'extract corrects them and stores PNG; to record less, let the driver publish and '
                'compress colour images',
            )
        )
    return message, picture, problems


def first_sweep(reader: BagReader, topic: Topic) -> tuple[Any, PointCloud | None, list[Problem]]:
    """Return the first message of a LiDAR with finite points, or else the first valid one.

    Returns:
        The message, None if no message can be read; its sweep, None if none of the first messages
        can be interpreted; and problems.
    """

    def has_points(cloud: PointCloud) -> bool:
        return bool(np.isfinite(cloud.x).any())

    message, cloud, failed = _first(reader, topic, cloud_from_message, has_points)
    fix = "extract drops such sweeps as bad_cloud; record the driver's own points topic"
    return message, cloud, _failures(topic, 'sweep', failed, fix)


def field_problems(topic: str, message: Any) -> list[Problem]:
    """Return the fields that would be used and cannot be read."""
    return [
        Problem(f'{topic}: point field {name!r} {why}', 'it is ignored; correct the driver')
        for name, why in unusable_fields(message).items()
        if name in used_fields() or resembles_time(name)
    ]


def coverage_problems(reader: BagReader, topic: Topic, sizes: list[int]) -> list[Problem]:
    """Return which of some sweeps lack beams or a sector: some of all, and the smallest.

    Args:
        reader: of the bag.
        topic: of the LiDAR.
        sizes: bytes of each of its messages.
    """
    some = np.linspace(0, len(sizes) - 1, min(len(sizes), _SWEEPS)).astype(int)
    chosen = {*some.tolist(), *np.argsort(sizes, kind='stable')[:_SMALLEST].tolist()}
    facts: dict[int, dict[str, Any]] = {}
    for k, message in enumerate(reader.messages([topic.name])):
        if k in chosen:
            with contextlib.suppress(BagError, CloudError):  # reported elsewhere
                sweep = cloud_from_message(reader.deserialize(message.raw, topic.type))
                facts[sweep.stamp_ns] = sweep_facts(sweep)
    usual = UsualCoverage(facts.values())
    lacking = {stamp: text for stamp, sweep in facts.items() if (text := usual.lacking(sweep))}
    return [
        Problem(
            f'{topic.name}: {len(lacking)} of {len(facts)} sweeps checked are incomplete; that '
            f'of {stamp} ns: {text}',
            'the missing part is not labelled; check for lost packets or a truncated file',
        )
        for stamp, text in list(lacking.items())[:1]
    ]


def time_problems(
    topic: str, message: Any, cloud: PointCloud, published_s: float | None
) -> list[Problem]:
    """Return problems of a sweep's point times.

    Args:
        topic: of the sweep.
        message: of the sweep.
        cloud: the sweep.
        published_s: median of how long after their stamps sweeps were stored; None if not known.
    """
    if cloud.time is None:
        return [_without_times(topic, message)]
    problems = []
    if cloud.clock_s:
        problems.append(_another_clock(topic, cloud, published_s))
    distance = np.abs(cloud.x) + np.abs(cloud.y)
    returned = np.isfinite(distance) & (distance > 0)
    wild = int(np.count_nonzero(returned & np.isnan(cloud.time)))
    if wild:
        problems.append(
            Problem(
                f'{topic}: {wild} of {len(cloud)} points have no or an implausible time in '
                f'{cloud.time_field}',
                'they are moved like the first point in view; correct the driver if many',
            )
        )
    return problems


def _failures(topic: Topic, what: str, failed: list[DriveSegmentError], fix: str) -> list[Problem]:
    if not failed:
        return []
    which = f'the first {what}' if len(failed) == 1 else f'the first {len(failed)} {what}s'
    return [Problem(f'{topic.name}: {which} cannot be decoded: {failed[0]}', fix)]


def _without_times(topic: str, message: Any) -> Problem:
    names = structured_view(message).dtype.names or ()
    tried = time_fields(names)
    others = [name for name in names if name not in tried and resembles_time(name)]
    what = f'{topic}: points have no time'
    if tried:
        what += f'; the values of {", ".join(tried)} are not times of a sweep'
    fix = 'motion is not compensated; let the driver publish per-point times (t, time)'
    if others:
        fix += f', or extract with --set time_field={others[0]} if that is what it holds'
    return Problem(what, fix)


def _another_clock(topic: str, cloud: PointCloud, published_s: float | None) -> Problem:
    what = (
        f'{topic}: point times ({cloud.time_field}) are of another clock, {cloud.clock_s:+.3f} s '
        'against the stamps'
    )
    if cloud.clock_s == round(cloud.clock_s):
        # A known constant, which has been subtracted.
        return Problem(what, 'this is GPS or atomic time: the difference is subtracted')
    times = cloud.time[np.isfinite(cloud.time)] if cloud.time is not None else np.zeros(1)
    duration_s = float(times.max() - times.min())
    fix = (
        "the sweep's first point is assumed to be at its stamp; if it is the last, extract with "
        '--set stamped_point=last'
    )
    if published_s is not None and 0.0 < published_s < _TOO_SOON * duration_s:
        fix += (
            f' (likely: sweeps of {duration_s:.3f} s are stored {published_s:.3f} s after their '
            'stamps)'
        )
    return Problem(what, fix)


def _first(
    reader: BagReader, topic: Topic, decode: Callable[[Any], Any], wanted: Callable[[Any], bool]
) -> tuple[Any, Any, list[DriveSegmentError]]:
    """Return the first wanted message of a topic, else the first decoded, else the first read."""
    failed: list[DriveSegmentError] = []
    read = decoded = None
    for message in _examples(reader, topic):
        read = message if read is None else read
        try:
            found = decode(message)
        except (ImageError, CloudError) as err:
            failed.append(err)
            continue
        if wanted(found):
            return message, found, failed
        decoded = (message, found) if decoded is None else decoded
    return (*decoded, failed) if decoded else (read, None, failed)


def _examples(reader: BagReader, topic: Topic) -> Iterator[Any]:
    video = VideoStream() if topic.type in VIDEO_TYPES else None
    count = _EXAMPLES if video is None else _EXAMPLES_OF_VIDEO
    for raw in itertools.islice(reader.messages([topic.name]), count):
        try:
            message = reader.deserialize(raw.raw, topic.type)
            yield message if video is None else video.push(message)
        except BagError:  # damaged; `inspect` reports the first one
            continue
