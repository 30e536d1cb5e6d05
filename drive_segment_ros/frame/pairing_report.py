"""Explains in text why images and sweeps are paired or not."""

from __future__ import annotations

from collections import Counter

from drive_segment_ros.frame.stream import FrameStream

_NS = 1e-9
# Stamps further apart than this come from different clocks; transport is never that slow.
_DIFFERENT_CLOCKS_S = 5.0


def pairing_report(stream: FrameStream) -> str:
    """Return one line on what a stream has paired and, if nothing, why."""
    parts = []
    cameras, sweeps = stream.cameras.values(), stream.sweep_clock.received
    images = sum(camera.clock.received for camera in cameras)
    pairs = sum(camera.pairs for camera in cameras)
    if pairs:
        parts.append(f'{pairs} of {images} images paired')
    elif not images and not sweeps:
        parts.append('nothing has arrived: neither images nor sweeps; check topic names and QoS')
    elif not images:
        parts.append(f'{sweeps} sweeps but no image; check the image topic name and its QoS')
    elif not sweeps:
        parts.append(f'{images} images but no sweep; check the point cloud topic name and its QoS')
    else:
        parts.append(f'none of {images} images paired with {sweeps} sweeps')
        parts += stamp_differences(stream)
    if pairs:
        silent = [camera.name for camera in cameras if not camera.clock.received]
        if silent:
            parts.append(f'no image from {", ".join(silent)}')
    drops: Counter[str] = Counter()
    for camera in cameras:
        drops.update(dict(camera.drops))
    unstamped = stream.sweep_drops['zero_stamp']
    if drops['zero_stamp'] or unstamped:
        parts.append(
            f'{drops["zero_stamp"]} images and {unstamped} sweeps have no time stamp; the driver '
            'must set header.stamp'
        )
    jumps = stream.sweep_clock.jumps + sum(camera.clock.jumps for camera in cameras)
    if jumps:
        parts.append(f'stamps jumped back {jumps} times (bag loop or clock step)')
    told = ', '.join(f'{count} {reason}' for reason, count in sorted(drops.items()))
    if told:
        parts.append(f'images dropped: {told}')
    return '; '.join(parts)


def stamp_differences(stream: FrameStream) -> list[str]:
    """Return a text for each camera: by how much its newest stamp differs from the newest sweep's.

    Cameras without an image are left out, and all without a sweep.
    """
    parts = []
    sweeps = stream.sweep_clock.newest_stamp_ns
    limit = stream.max_offset_s
    for name, camera in stream.cameras.items():
        newest = camera.clock.newest_stamp_ns
        if newest is None or sweeps is None:
            continue
        apart = (newest + camera.clock.offset_ns - sweeps) * _NS
        words = (
            f'newest image stamp of {name} is {abs(apart):.3f} s '
            f'{"ahead of" if apart > 0 else "behind"} the newest sweep stamp '
            f'(max_offset_s {limit:g})'
        )
        if abs(apart) > _DIFFERENT_CLOCKS_S:
            words += '; the two clocks differ: synchronise them (PTP) or set camera_offset'
        elif abs(apart) > limit:
            words += '; raise max_offset_s or set camera_offset'
        parts.append(words)
    return parts
