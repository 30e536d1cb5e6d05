"""Whether an object has moved: its place, looked at from other frames, is mostly free.

The vehicle's own motion is taken out by odometry, so that this holds while it drives and while it
stands. What was never seen to move may still be a thing, as a parked car is; what moved is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN, STILL, MOVED = -1, 0, 1
# So often at least must a place be looked at.
_LEAST_LOOKS = 3
# What more than this share of a class does, its kind does; CUPS (Hahn et al., CVPR 2025) has it.
THING_SHARE = 0.08


def moved_objects(
    track: NDArray[np.int64], present: NDArray[np.int64], through: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Tell which objects have moved.

    Args:
        track: (S,) object each segment is a view of, contiguous from 0.
        present: rows of segments in whose place another frame has something, once for each.
        through: rows of segments whose place another frame sees free, once for each.

    Returns:
        (S,) int8 of each segment's object: `MOVED`, `STILL`, or `UNKNOWN` where too few frames
        look at its places.
    """
    objects = int(track.max(initial=-1)) + 1
    there = np.bincount(track[present], minlength=objects)
    free = np.bincount(track[through], minlength=objects)
    moved = np.where(free > there, MOVED, STILL)
    moved[free + there < _LEAST_LOOKS] = UNKNOWN
    return moved[track].astype(np.int8)
