"""Cross-frame matches: the same object in other frames, found by projecting its centre.

A track follows an object by position and size, and loses it when more or less of it becomes
visible, such as a car of which only the roof was seen behind others. Here the centre of a segment
is projected into the frames before and after, and the segment found there at the same distance
shows the same object or a part of it.

If ground, sky or something farther is found instead, and nothing else nearby, the position was
free at that time: the object has moved, see `motion`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.proposals import KINDS

# Frames before and after that are searched. 5 to 30 give similar classes.
WINDOW = 10
# Frames after which a moving object has left its position: a car at 3 m/s, a person at 1.5 m/s.
LEAST_APART = 5
# Largest difference in range of a segment's mean and a point on it: half its length and a margin.
_SLACK_M = 0.5
_MOST_M = 3.0
# A position is free if this many pixels around it are, as outlines are not exact.
_AROUND = 2
# Lower objects may be hidden by the ground in front.
_LOWEST_M = 0.4
# Instead of the index of an object: not an object, and free space.
_NONE, _FREE = -1, -2


@dataclasses.dataclass(frozen=True)
class _View:
    """The objects of one frame: their positions and their index in the image.

    Attributes:
        T_odom_base: (4, 4) the vehicle's pose.
        camera: at the size of `segment`.
        segment: (H, W) uint16 proposal ids.
        number: (65536,) index into the columns below of each id, `_FREE` for ground and sky.
        row: (P,) the objects' rows in the table of segments.
        high: (P,) bool, whether its centre is well above the ground.
        centre: (P, 3) metres, odom.
        range, tolerance: (P,) metres; distance from the LiDAR, and how exact that is.
    """

    T_odom_base: NDArray[np.float64]
    camera: CameraModel
    segment: NDArray[np.uint16]
    number: NDArray[np.int64]
    row: NDArray[np.int64]
    high: NDArray[np.bool_]
    centre: NDArray[np.float64]
    range: NDArray[np.float64]
    tolerance: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class _Rig:
    """The poses of camera and LiDAR on the vehicle.

    Attributes:
        camera: as calibrated.
        T_camera_base: (4, 4), maps the vehicle's coordinates to the camera's optical frame.
        lidar: (3,) metres, the LiDAR's position in the vehicle's coordinates.
    """

    camera: CameraModel
    T_camera_base: NDArray[np.float64]
    lidar: NDArray[np.float64]

    @staticmethod
    def of(calibration: DriveCalibration) -> _Rig | None:
        """Return those of a drive; None if the LiDAR's pose on the vehicle is not known."""
        T_base_lidar = calibration.T_base_lidar
        if T_base_lidar is None:
            return None
        T_camera_base = calibration.T_camera_lidar @ np.linalg.inv(T_base_lidar)
        return _Rig(calibration.camera, T_camera_base, T_base_lidar[:3, 3])


class CrossFrameMatcher:
    """Matches a camera's objects with those of other frames; frames are added in order."""

    def __init__(self, calibration: DriveCalibration | None) -> None:
        """Begin with a camera of a drive; without calibration there are no matches."""
        self._rig = None if calibration is None else _Rig.of(calibration)
        # None for a frame without a pose.
        self._past: deque[_View | None] = deque(maxlen=WINDOW)
        self._matches: list[NDArray[np.int64]] = []
        self._seen_through: list[NDArray[np.int64]] = []

    def add(
        self,
        rows: NDArray[np.int64],
        proposals: Mapping[str, NDArray[Any]],
        segment: NDArray[np.uint16],
        T_odom_base: NDArray[np.float64] | None,
    ) -> None:
        """Match a frame's objects with those of the frames before it, in both directions.

        Args:
            rows: (P,) each proposal's row in the table of segments.
            proposals: arrays of P rows, as by `describe_proposals`, and `id`, `kind`.
            segment: (H, W) uint16 proposal ids.
            T_odom_base: (4, 4) pose; None if unknown: the frame has no matches.

        Raises:
            KeyError: if the proposals lack an array.
        """
        view = self._view(rows, proposals, segment, T_odom_base)
        if view is not None:
            assert self._rig is not None
            for index, other in enumerate(self._past):
                if other is not None:
                    apart = len(self._past) - index
                    self._look_up(self._rig, view, other, apart)
                    self._look_up(self._rig, other, view, apart)
        self._past.append(view)

    def remember(
        self,
        rows: NDArray[np.int64],
        proposals: Mapping[str, NDArray[Any]],
        segment: NDArray[np.uint16],
        T_odom_base: NDArray[np.float64] | None,
    ) -> None:
        """Add a frame, see `add`, that is already matched with those before it."""
        self._past.append(self._view(rows, proposals, segment, T_odom_base))

    def matches(self) -> NDArray[np.int64]:
        """Return (L, 2) rows: a segment and its match in another frame."""
        return np.concatenate([np.empty((0, 2), np.int64), *self._matches])

    def seen_through(self) -> NDArray[np.int64]:
        """Return rows (N,): a segment whose position is free in another frame, once per frame.

        Frames less than `LEAST_APART` apart are not used.
        """
        return np.concatenate([np.empty(0, np.int64), *self._seen_through])

    def _look_up(self, rig: _Rig, view: _View, other: _View, apart: int) -> None:
        """Find what another view, some frames apart, has at the positions of a view's objects."""
        T = other.T_odom_base
        base = (view.centre - T[:3, 3]) @ T[:3, :3]
        optical = base @ rig.T_camera_base[:3, :3].T + rig.T_camera_base[:3, 3]
        pixel, inside = other.camera.project(optical)
        seen = np.flatnonzero(inside)
        column, row = np.rint(pixel[seen]).astype(np.int64).T
        distance = np.linalg.norm(base[seen] - rig.lidar, axis=1)
        found = other.number[other.segment[row, column]]
        thing = np.flatnonzero(found >= 0)
        near = np.abs(distance[thing] - other.range[found[thing]]) < other.tolerance[found[thing]]
        same = thing[near]
        self._matches.append(np.stack([view.row[seen[same]], other.row[found[same]]], axis=1))
        if apart < LEAST_APART:
            return
        high = np.flatnonzero(view.high[seen])
        through = high[_all_free(other, row[high], column[high], distance[high])]
        self._seen_through.append(view.row[seen[through]])

    def _view(
        self,
        rows: NDArray[np.int64],
        proposals: Mapping[str, NDArray[Any]],
        segment: NDArray[np.uint16],
        T_odom_base: NDArray[np.float64] | None,
    ) -> _View | None:
        rig = self._rig
        if rig is None or T_odom_base is None or 'centroid_x' not in proposals:
            return None
        objects = np.flatnonzero(proposals['kind'] == KINDS.index('object'))
        centroid = np.stack([proposals[f'centroid_{axis}'][objects] for axis in 'xyz'], axis=1)
        base = centroid.astype(np.float64) + rig.lidar
        number = np.full(65536, _NONE, np.int64)
        number[proposals['id'][proposals['kind'] != KINDS.index('object')]] = _FREE
        number[proposals['id'][objects]] = np.arange(len(objects))
        length = proposals['extent_long'][objects].astype(np.float64)
        height = 0.5 * (proposals['height_min'][objects] + proposals['height_max'][objects])
        return _View(
            T_odom_base,
            rig.camera.scaled(segment.shape[1], segment.shape[0]),
            segment,
            number,
            rows[objects],
            height > _LOWEST_M,
            base @ T_odom_base[:3, :3].T + T_odom_base[:3, 3],
            proposals['range'][objects].astype(np.float64),
            np.minimum(0.5 * length + _SLACK_M, _MOST_M),
        )


def _all_free(
    view: _View,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    distance: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return where a view has free space up to some distance around pixels, (N,).

    Args:
        view: the view to search.
        row, column: (N,) pixels.
        distance: (N,) metres from the LiDAR.
    """
    shift = np.arange(-_AROUND, _AROUND + 1)
    height, width = view.segment.shape
    rows = np.clip(row[:, None, None] + shift[:, None], 0, height - 1)
    columns = np.clip(column[:, None, None] + shift, 0, width - 1)
    number = view.number[view.segment[rows, columns]].reshape(len(row), shift.size**2)
    # An additional element for ids that are not objects.
    begins = np.append(view.range - view.tolerance, -np.inf)
    farther = (number >= 0) & (begins[np.maximum(number, _NONE)] > distance[:, None])
    return (farther | (number == _FREE)).all(axis=1)


def counted_matches(matches: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the matches without those by which fitted segments depend on others.

    Args:
        matches: (L, 2) rows, see `CrossFrameMatcher.matches`.
        counted: (S,) whether a segment is used for fitting.
    """
    return matches[counted[matches[:, 1]] | ~counted[matches[:, 0]]]


def mean_over_matches(
    matches: NDArray[np.int64], weight: NDArray[np.floating]
) -> sparse.csr_matrix:
    """Return the matrix that averages values over all views of an object: itself and its matches.

    Args:
        matches: (L, 2) rows, a pair once at most.
        weight: (S,) of each view.

    Returns:
        (S, S), rows sum to 1; multiplied with (S, D) values it gives their means.
    """
    one, other = matches.T
    count = len(weight)
    views = sparse.csr_matrix((weight[other], (one, other)), (count, count))
    views = views + sparse.diags(weight)
    return sparse.diags(1.0 / np.asarray(views.sum(axis=1)).ravel()) @ views
