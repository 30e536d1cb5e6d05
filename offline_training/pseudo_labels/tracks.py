"""Tracks objects through a drive: an object keeps its number from frame to frame.

Nearest neighbours in position and size, one to one, in coordinates that do not move with the car.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from drive_segment_ros.perception.proposals import KINDS

UNTRACKED = -1
# The proposal arrays used for tracking.
PLACE_AND_SIZE = (
    *('centroid_x', 'centroid_y', 'centroid_z'),
    *('extent_long', 'extent_short', 'extent_vertical'),
)
# Largest change of position or size between frames; 1 m is 36 km/h at 10 frames/s.
_GATE_M = 1.0
# A difference in size has half the weight, as it depends on occlusion.
_SIZE_WEIGHT = 0.5
# Largest number of frames in which an object may be missing.
_MEMORY = 3


def follow(
    proposals: Sequence[Mapping[str, NDArray[Any]]],
    poses: Sequence[NDArray[np.float64] | None],
) -> list[NDArray[np.int64]]:
    """Number the objects of a drive.

    Args:
        proposals: of each frame in order of time; arrays of P rows. Their `centroid_*` have the
            LiDAR for origin, so the vehicle's turns leave an error of the LiDAR's distance from
            the base times the angle turned: centimetres between frames.
        poses: odom from base, (4, 4), at each frame; None if unknown, which ends all tracks.

    Returns:
        For each frame (P,) int64 track, `UNTRACKED` for ground and sky and where the pose or the
        centroids are unknown.
    """
    tracks: list[NDArray[np.int64]] = []
    past: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
    following = 0
    for rows, pose in zip(proposals, poses, strict=True):
        track = np.full(len(rows['id']), UNTRACKED, np.int64)
        tracks.append(track)
        if pose is None or 'centroid_x' not in rows:
            past = []
            continue
        objects = np.flatnonzero(rows['kind'] == KINDS.index('object'))
        places = _places(rows, pose)[objects]
        found = np.full(len(objects), UNTRACKED, np.int64)
        for then, numbers in reversed(past):
            free = np.flatnonzero(found == UNTRACKED)
            lost = np.flatnonzero(~np.isin(numbers, found))
            now, before = _mutual_nearest(places[free], then[lost])
            found[free[now]] = numbers[lost[before]]
        new = np.flatnonzero(found == UNTRACKED)
        found[new] = following + np.arange(len(new))
        following += len(new)
        track[objects] = found
        past = [*past, (places, found)][-_MEMORY:]
    return tracks


def _places(rows: Mapping[str, NDArray[Any]], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return position in odom and size of objects, (P, 6) metres."""
    values = np.stack([rows[name] for name in PLACE_AND_SIZE], axis=1)
    centre, size = values[:, :3].astype(np.float64), values[:, 3:]
    return np.hstack([centre @ pose[:3, :3].T + pose[:3, 3], _SIZE_WEIGHT * size])


def _mutual_nearest(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs of rows that are each other's nearest, within the gate."""
    if len(a) == 0 or len(b) == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance, nearest_b = KDTree(b).query(a)
    _, nearest_a = KDTree(a).query(b)
    chosen = np.flatnonzero((nearest_a[nearest_b] == np.arange(len(a))) & (distance < _GATE_M))
    return chosen, nearest_b[chosen]
