"""Synthetic encoded frames for the benchmarks of reading and writing datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from drive_segment_ros.dataset.frame import EncodedFrame, Frame, SweepRecord

START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
CAMERA = 'front'
# Description of the drive that they belong to.
DRIVE: dict[str, Any] = {'cameras': {CAMERA: {}}}


def made_up_frames(count: int, width: int, height: int) -> Iterator[EncodedFrame]:
    """Yield frames that differ only in their stamps.

    Args:
        count: number of frames.
        width, height: of image and segments, px.
    """
    rng = np.random.default_rng(0)
    picture = cv2.resize(
        rng.integers(0, 255, (max(1, height // 8), max(1, width // 8), 3), np.uint8),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    blocks = rng.integers(0, 200, (max(1, height // 30), max(1, width // 30)), np.uint16)
    segment = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
    proposals = {
        name: np.arange(200, dtype=kind)
        for name, kind in (('id', np.uint16), ('kind', np.uint8), ('points', np.int32))
    }
    for k in range(count):
        stamp_ns = START_NS + k * PERIOD_NS
        sweep = SweepRecord(stamp_ns, proposals)
        yield Frame(CAMERA, stamp_ns, jpeg, '.jpg', segment, sweep, {'offset_s': 0.0}).encoded()
