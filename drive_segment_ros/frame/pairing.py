"""Pairs images with sweeps by one rule, a function of their stamps only.

An image is paired with the nearest free sweep within `max_offset`, unless a later image of its
camera is nearer to that sweep and would choose it too; then it is paired with the next nearest
free sweep or dropped. A sweep may be paired with several cameras but with only one image of each.

Decisions wait for the later messages they depend on, so pairs depend on the messages but not on
the order in which they arrive.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any

# Offsets that differ by less than this count as equal and the earlier image wins. Without it, a
# camera half a period off the LiDAR would lose images because of stamp jitter.
_JITTER_NS = 1_000_000


class Unknown(Exception):  # noqa: N818 - not an error: the answer has yet to arrive
    """The result depends on a message that may still arrive."""


@dataclasses.dataclass
class Item:
    """An image or a sweep that waits.

    Attributes:
        key: nanoseconds that order it among all sensors: stamp, offset and epoch.
        event: the message.
        arrival_s: when it arrived, seconds of the caller's clock.
        taken_by: of a sweep, the cameras it is already paired with.
    """

    key: int
    event: Any
    arrival_s: float
    taken_by: set[str] = dataclasses.field(default_factory=set)


def key_of(item: Item) -> int:
    """Return the item's key; for `bisect`."""
    return item.key


def choose(
    camera: str,
    images: Sequence[Item],
    sweeps: Sequence[Item],
    max_offset_ns: int,
    images_known: float,
    sweeps_known: float,
) -> tuple[Item | None, str]:
    """Return the sweep of a camera's oldest image, or None and why it has none.

    Args:
        camera: the camera's name.
        images: its waiting images, by key; the first is decided.
        sweeps: the sweeps that are kept, by key.
        max_offset_ns: largest offset of a pair, inclusive.
        images_known: no further image with a key up to this is expected; infinite at the end.
        sweeps_known: the same of sweeps.

    Raises:
        Unknown: if that depends on messages that have not arrived yet.
    """
    image = images[0].key
    free = [sweep for sweep in sweeps if camera not in sweep.taken_by]
    split = bisect.bisect_right(free, image, key=key_of)
    _need(sweeps_known, image)
    before = free[split - 1] if split and image - free[split - 1].key <= max_offset_ns else None
    # A sweep after the image must be strictly nearer than the one before it.
    reach = max_offset_ns if before is None else image - before.key - 1
    for sweep in free[split:]:
        if sweep.key > image + reach:
            break
        _need(sweeps_known, sweep.key)
        if not _is_contested(sweep.key, images, free, images_known, sweeps_known):
            return sweep, ''
    _need(sweeps_known, image + reach)
    if before is not None:
        return before, ''
    in_range = any(abs(sweep.key - image) <= max_offset_ns for sweep in sweeps)
    return None, 'sweep_taken' if in_range else 'no_sweep'


def _is_contested(
    sweep: int,
    images: Sequence[Item],
    free: Sequence[Item],
    images_known: float,
    sweeps_known: float,
) -> bool:
    """Return whether a later image is nearer to a sweep than the first and would choose it."""
    margin = sweep - images[0].key - _JITTER_NS
    if margin <= 0:
        return False
    earlier = [other.key for other in free if other.key < sweep]
    later = [other.key for other in free if other.key > sweep]
    for rival in (image.key for image in images[1:]):
        distance = abs(rival - sweep)
        if distance >= margin or any(abs(rival - other) <= distance for other in earlier):
            continue
        # The next sweep may suit it as well as this one, or better.
        end = rival + distance + _JITTER_NS
        if any(other <= end for other in later):
            continue
        _need(sweeps_known, end)
        return True
    _need(images_known, sweep + margin)
    return False


def _need(known: float, key: int) -> None:
    if known < key:
        raise Unknown
