"""Why images and sweeps do or do not pair, in words."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from drive_segment_ros.perception.stamp_stream import Stream

# Stamps further apart than this come from different clocks; transport is never that slow.
_DIFFERENT_CLOCKS_S = 5.0


class Counters(Protocol):
    """What a matcher has counted, see `Matcher`."""

    pairs: int
    jumps: int
    drops: Counter[str]
    sweep_drops: Counter[str]


def pairing_report(
    matcher: Counters, cameras: dict[str, Stream], sweeps: Stream, max_offset_s: float
) -> str:
    """Say in one line what a matcher has paired and, where that is nothing, why.

    Args:
        matcher: its counters.
        cameras: its image streams by name.
        sweeps: its sweep stream.
        max_offset_s: of a pair.
    """
    parts = []
    images = sum(stream.received for stream in cameras.values())
    if matcher.pairs:
        parts.append(f'{matcher.pairs} of {images} images paired')
    elif not images and not sweeps.received:
        parts.append('nothing has arrived: neither images nor sweeps; check topic names and QoS')
    elif not images:
        parts.append(
            f'{sweeps.received} sweeps but no image; check the image topic name and its QoS'
        )
    elif not sweeps.received:
        parts.append(f'{images} images but no sweep; check the point cloud topic name and its QoS')
    else:
        parts.append(f'none of {images} images paired with {sweeps.received} sweeps')
        parts += stamp_differences(cameras, sweeps, max_offset_s)
    if matcher.pairs:
        silent = [name for name, stream in cameras.items() if not stream.received]
        if silent:
            parts.append(f'no image from {", ".join(silent)}')
    if matcher.drops['zero_stamp'] or matcher.sweep_drops['zero_stamp']:
        parts.append(
            f'{matcher.drops["zero_stamp"]} images and {matcher.sweep_drops["zero_stamp"]} sweeps '
            'have no time stamp; the driver must set header.stamp'
        )
    if matcher.jumps:
        parts.append(f'stamps jumped back {matcher.jumps} times (bag loop or clock step)')
    drops = ', '.join(f'{count} {reason}' for reason, count in sorted(matcher.drops.items()))
    if drops:
        parts.append(f'images dropped: {drops}')
    return '; '.join(parts)


def stamp_differences(
    cameras: dict[str, Stream], sweeps: Stream, max_offset_s: float
) -> list[str]:
    """Say for each camera how far its newest stamp is from the newest sweep's."""
    parts = []
    for name, stream in cameras.items():
        if stream.newest_stamp_ns is None or sweeps.newest_stamp_ns is None:
            continue
        apart = (stream.newest_stamp_ns + stream.offset_ns - sweeps.newest_stamp_ns) * 1e-9
        words = (
            f'newest image stamp of {name} is {abs(apart):.3f} s '
            f'{"ahead of" if apart > 0 else "behind"} the newest sweep stamp '
            f'(max_offset_s {max_offset_s:g})'
        )
        if abs(apart) > _DIFFERENT_CLOCKS_S:
            words += '; the two clocks differ: synchronise them (PTP) or set camera_offset'
        elif abs(apart) > max_offset_s:
            words += '; raise max_offset_s or set camera_offset'
        parts.append(words)
    return parts
