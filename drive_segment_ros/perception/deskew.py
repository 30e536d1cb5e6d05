"""Whether a driver has already moved a sweep's points to one instant.

Some drivers publish points where the sensor measured them, each at its own time; others, and many
recorded data sets, have moved them to the sweep's stamp and still give each point its time. Moving
such points again is as wrong as not moving raw ones. The cloud itself shows which is the case: a
raw beam has one elevation all the way round, which compensation disturbs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud

# Near points on steep beams are the most informative: a moved origin changes their elevation most.
# Level beams are too close together for a `ring` that was derived from elevations.
_NEAREST, _FARTHEST, _LEAST_SINE = 1.5, 25.0, 0.1
_SAMPLE = 6_000
# For slower motion than this the two answers differ by a few centimetres only.
_LEAST_WAY = 0.1


def is_compensated(
    cloud: PointCloud,
    ring: NDArray[np.integer],
    axis: int,
    velocity: NDArray[np.float64],
    turn_rate: NDArray[np.float64],
) -> bool:
    """Return whether the points have been moved to the sweep's stamp.

    Args:
        cloud: the sweep; with times.
        ring: (N,) beam of each point.
        axis: the spin axis, 0, 1 or 2.
        velocity: (3,) m/s, of the LiDAR, in its own frame.
        turn_rate: (3,) rad/s, likewise.

    Returns:
        False also where the motion is too slow to tell, and for a cloud without times.
    """
    if cloud.time is None:
        return False
    # Odd, so that a sweep stored column by column yields all of its beams.
    step = max(1, len(cloud) // _SAMPLE) | 1
    time = np.asarray(cloud.time[::step], np.float64)
    known = time[np.isfinite(time)]
    if len(known) == 0 or np.ptp(known) * np.linalg.norm(velocity) < _LEAST_WAY:
        return False
    points = np.stack([cloud.x[::step], cloud.y[::step], cloud.z[::step]], 1).astype(np.float64)
    distance = np.linalg.norm(points, axis=1)
    beam = np.asarray(ring[::step], np.int64)
    use = (distance > _NEAREST) & (distance < _FARTHEST) & np.isfinite(time) & (beam >= 0)
    use &= np.abs(points[:, axis]) > _LEAST_SINE * distance
    points, time, beam = points[use], time[use], beam[use]
    if len(points) < 100:
        return False
    # Where the sensor would have measured a point that was moved: seen from its place and
    # attitude at the point's own time. Turning is small within a sweep: first order will do.
    shifted = points - time[:, None] * velocity
    measured = shifted - np.cross(time[:, None] * turn_rate, shifted)
    return _spread(measured, beam, axis) < _spread(points, beam, axis)


def _spread(points: NDArray[np.float64], beam: NDArray[np.int64], axis: int) -> float:
    """Return how far elevations stray from their beam's median, in the median over all points."""
    elevation = points[:, axis] / np.linalg.norm(points, axis=1)
    order = np.lexsort((elevation, beam))
    beam, elevation = beam[order], elevation[order]
    _, first, counts = np.unique(beam, return_index=True, return_counts=True)
    median = elevation[first + counts // 2]
    return float(np.median(np.abs(elevation - np.repeat(median, counts))))
