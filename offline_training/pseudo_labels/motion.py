"""Whether an object has moved: its position is mostly free in other frames.

The vehicle's own motion is compensated by odometry, so this works for a moving and for a standing
vehicle. An object that was not seen to move may still be a thing, such as a parked car.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN, STILL, MOVED = -1, 0, 1
# Least number of frames in which a position must be observed.
_LEAST_LOOKS = 3
# Share of a class that must have moved for a thing class; as in CUPS (Hahn et al., CVPR 2025).
THING_SHARE = 0.08


def moved_objects(
    track: NDArray[np.int64], present: NDArray[np.int64], through: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Return which objects have moved.

    Args:
        track: (S,) object each segment is a view of, contiguous from 0.
        present: rows of segments whose position is occupied in another frame, once per frame.
        through: rows of segments whose position is free in another frame, once per frame.

    Returns:
        (S,) int8 of each segment's object: `MOVED`, `STILL`, or `UNKNOWN` if too few frames
        observe its positions.
    """
    objects = int(track.max(initial=-1)) + 1
    there = np.bincount(track[present], minlength=objects)
    free = np.bincount(track[through], minlength=objects)
    moved = np.where(free > there, MOVED, STILL)
    moved[free + there < _LEAST_LOOKS] = UNKNOWN
    return moved[track].astype(np.int8)
