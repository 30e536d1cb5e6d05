"""Checks published extrinsics with images and sweeps, without a target or labels.

Where range jumps between neighbouring returns, an object ends, and the image usually has an
edge. The score of an orientation is the image's edge strength at the projected edges of the sweep
(Levinson & Thrun, Automatic Online Calibration of Cameras and Lasers, RSS 2013). A better
orientation than the published one is accepted if frames confirm it that were not used to find it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.stats import binomtest

from drive_segment_ros.perception.beam_sources import spinning_beams
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.lenses import Lens, pixel
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.range_image import RangeImage, range_image
from drive_segment_ros.perception.resizing import resize_image

# Angular size of a pixel of the working image, about the spacing of the beams.
_PIXEL = np.radians(0.12)
# Range of the points used, m: nearer ones may be on the vehicle; at more distant objects a beam is
# wider than their edge.
_NEAREST, _FARTHEST = 2.0, 60.0
# An object ends where range increases by at least this factor (more than on ground at a grazing
# angle) and this many metres (more than on rough surfaces).
_JUMP, _JUMP_M = 1.25, 0.5
# Between rows further apart than this, rad, the edge of an object is too uncertain.
_MAX_ROW_GAP = np.radians(0.7)
# Number of edges per frame: fewer are ambiguous, more only cost time.
_MIN_EDGES, _MAX_EDGES = 100, 1000
# The search over rotation vectors, degrees: a grid over a cube on images blurred by about half a
# step, then hill climbing in finer steps from its highest peaks.
_REACH_DEG, _COARSE_DEG, _FINE_DEG = 4.0, 0.5, (0.25, 0.125)
_COARSE_BLUR, _FINE_BLUR = 2.0, 1.5  # px of the working image
_PEAKS = 8
# Significance level of the sign test over the frames that confirm a rotation.
_SIGNIFICANCE = 0.05
# Extrinsics are reported as wrong from this angle on. By geometry, edges are known to half a gap
# between rows (0.35 degrees) and half an azimuth step (0.1); if all errors had the same sign, this
# would be 0.35 about x and, for a field of view of 90 degrees, 0.5 about z, 0.6 in total.
# Simulated rigs of six cameras (fields of view of 70 and 92 degrees; pandar64, hdl64, vlp32)
# agree: correct extrinsics give at most 0.6, and errors of 1.5 give at least 1.24, if five frames
# have edges and their halves agree. Of three real cameras with correct extrinsics, judged by their
# segments, one gives 0.8, more than geometry explains; so the threshold is nearer to 1.24.
_WRONG_DEG = 1.2
# If the results of two halves of the frames differ by more, degrees, there is no decision.
_UNSURE_DEG = 0.6


@dataclasses.dataclass(frozen=True)
class ExtrinsicsReport:
    """The difference of a camera's published orientation from the one that fits its images.

    Attributes:
        ok: True if they agree, False if not, None if it cannot be decided.
        yaw_deg, pitch_deg, roll_deg: the turn of the camera that fits best, a rotation vector in
            its optical frame: about y (positive to the right), x (up) and z (clockwise).
        uncertainty_deg: half of the angle between the results of two halves of the frames.
        frames, edges: numbers used.
    """

    ok: bool | None
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    uncertainty_deg: float
    frames: int
    edges: int

    @property
    def angle_deg(self) -> float:
        """The angle by which the orientation is wrong."""
        return float(np.linalg.norm([self.yaw_deg, self.pitch_deg, self.roll_deg]))


@dataclasses.dataclass(frozen=True)
class DepthEdges:
    """The boundaries of objects in front of something farther away.

    Attributes:
        inner: (M, 3) float64, metres, LiDAR frame: the last point on the object.
        outer: (M, 3), the same turned halfway towards the next shot: the edge is expected there.
        cell: (M,) int64, row * W + column of the last point in the range image.
    """

    inner: NDArray[np.float64]
    outer: NDArray[np.float64]
    cell: NDArray[np.int64]

    def moved(self, times: NDArray[np.floating], motion: SweepMotion) -> DepthEdges:
        """Return the edges as the LiDAR would see them at the image's instant.

        Args:
            times: (H * W,) when each cell was measured, seconds relative to the sweep's stamp.
            motion: of the LiDAR.
        """
        middle = (motion.times[:-1] + motion.times[1:]) / 2
        T = motion.T[np.searchsorted(middle, times[self.cell])]
        inner, outer = (
            np.einsum('mij,mj->mi', T[:, :, :3], points) + T[:, :, 3]
            for points in (self.inner, self.outer)
        )
        return DepthEdges(inner, outer, self.cell)


def check_extrinsics(
    images: Sequence[NDArray[np.uint8]],
    sweeps: Sequence[PointCloud],
    camera: CameraModel,
    T_camera_lidar: NDArray[np.float64],
    motions: Sequence[SweepMotion | None] = (),
) -> ExtrinsicsReport | None:
    """Compare depth edges with image edges.

    Args:
        images: each (H, W) uint8 grey, any resolution of the camera.
        sweeps: one an image, measured about when it was taken.
        camera: the lens, any resolution.
        T_camera_lidar: (4, 4) as published.
        motions: one a sweep: how its points get to the image's instant; None takes them as they
            are. Of a side camera the vehicle's way between sweep and image looks like a turn.

    Returns:
        None if the sweeps have no beams (solid-state sensors), or fewer than two frames have
        edges in view.
    """
    scale = min(1.0, 1.0 / (camera.lens.fx * _PIXEL))
    camera = camera.scaled(round(camera.width * scale), round(camera.height * scale))
    frames = []
    for image, sweep, motion in zip(images, sweeps, motions or [None] * len(images), strict=True):
        ranges = _by_beam(sweep)
        if ranges is None:
            continue
        depth = depth_edges(ranges)
        if motion is not None:
            depth = depth.moved(_cell_times(sweep, ranges), motion)
        edges = _in_view(depth, camera, T_camera_lidar)
        if edges is not None:
            frames.append((resize_image(image, camera.height, camera.width), *edges))
    if len(frames) < 2:
        return None
    pictures, points, weights = zip(*frames, strict=True)
    search = _Search(pictures, points, weights, camera)
    half = np.arange(len(frames)) % 2 == 0
    by_half = search.best(half), search.best(~half)
    # Each frame judges the orientation that the other half found.
    gain = np.where(half, search.gain(by_half[1]), search.gain(by_half[0]))
    better = int((gain > 0).sum())
    chance = binomtest(better, len(frames), alternative='greater').pvalue
    turn = search.best(np.ones(len(frames), bool))
    uncertainty_deg = float(np.linalg.norm(by_half[0] - by_half[1])) / 2
    ok = None
    if np.linalg.norm(turn) < _WRONG_DEG:
        ok = True if uncertainty_deg < _UNSURE_DEG else None
    elif chance < _SIGNIFICANCE and np.abs(turn).max() < _REACH_DEG:
        ok = False
    pitch, yaw, roll = turn.tolist()
    return ExtrinsicsReport(
        ok=ok,
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        uncertainty_deg=uncertainty_deg,
        frames=len(frames),
        edges=sum(map(len, points)),
    )


def depth_edges(image: RangeImage) -> DepthEdges:
    """Find where objects end to either side, and above where rows are close.

    Below, objects stand on the ground and range does not jump.
    """
    ranges = image.range
    inside = (ranges > _NEAREST) & (ranges < _FARTHEST)
    half_step = np.pi / ranges.shape[1]
    inner, outer, flat = [], [], []
    for side in (-1, 1):
        # A single empty cell is skipped, as returns are spread unevenly over cells. An empty
        # neighbourhood (0) is not a jump: dark surfaces and glass lose returns anywhere.
        beside, next_but_one = (np.roll(ranges, -side * k, axis=1) for k in (1, 2))
        beside = np.where(beside > 0, beside, next_but_one)
        cells = np.nonzero(inside & _jumps(ranges, beside))
        inner.append(image.xyz[:, cells[0], cells[1]].T.astype(np.float64))
        outer.append(_turned(inner[-1], side * half_step, np.zeros(len(cells[0]))))
        flat.append(np.ravel_multi_index(cells, ranges.shape))
    gap = np.append(0.0, image.elevation[:-1] - image.elevation[1:])
    above = np.vstack([ranges[:1], ranges[:-1]])
    close = (gap > 0.0) & (gap < _MAX_ROW_GAP)
    cells = np.nonzero(inside & _jumps(ranges, above) & close[:, None])
    inner.append(image.xyz[:, cells[0], cells[1]].T.astype(np.float64))
    outer.append(_turned(inner[-1], 0.0, gap[cells[0]] / 2))
    flat.append(np.ravel_multi_index(cells, ranges.shape))
    # The range image has the spin axis third.
    order = [(axis - image.axis - 1) % 3 for axis in range(3)]
    return DepthEdges(
        np.concatenate(inner)[:, order],
        np.concatenate(outer)[:, order],
        np.concatenate(flat).astype(np.int64),
    )


def edge_strength(image: NDArray[np.uint8], blur: float) -> NDArray[np.float32]:
    """Return the edge strength of each pixel relative to its surroundings.

    Args:
        image: (H, W) uint8 grey.
        blur: standard deviation of the final blur, px: the distance at which an edge still counts.

    Returns:
        (H, W, 2) float32 gradient strength along u and along v, with a local mean of 0, so that
        textured regions do not attract more than others.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    across = [np.abs(cv2.Sobel(smooth, cv2.CV_32F, *order)) for order in ((1, 0), (0, 1))]
    # Relative to the local contrast, with an offset for sensor noise.
    around = cv2.GaussianBlur(across[0] + across[1], (0, 0), 12.0) + 4.0
    relative = np.stack([np.minimum(edge / around, 3.0) for edge in across], axis=-1)
    wide = cv2.GaussianBlur(relative, (0, 0), 35.0)
    return np.asarray(cv2.GaussianBlur(relative, (0, 0), blur) - wide, np.float32)


class _Search:
    """The search for the rotation that best aligns the edges of sweeps and images."""

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        points: Sequence[NDArray[np.float64]],
        weights: Sequence[NDArray[np.float64]],
        camera: CameraModel,
    ) -> None:
        self._frame = np.repeat(np.arange(len(points)), [len(p) for p in points])
        self._points = np.concatenate(points) @ camera.rotation.T
        self._weights = np.concatenate(weights).astype(np.float32)
        self._camera = camera
        self._sharp = np.stack([edge_strength(image, _FINE_BLUR) for image in images])
        blurred = np.stack([edge_strength(image, _COARSE_BLUR) for image in images])
        self._steps = np.arange(-_REACH_DEG, _REACH_DEG + _COARSE_DEG, _COARSE_DEG)
        self._grid = np.array(list(itertools.product(self._steps, repeat=3)))
        self._grid_scores = np.array([self._score(turn, blurred) for turn in self._grid])

    def best(self, used: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the best rotation for the selected frames: (3,) rotation vector, degrees."""
        scores = self._grid_scores[:, used].sum(axis=1).reshape([len(self._steps)] * 3)
        peaks = np.flatnonzero(scores == maximum_filter(scores, 3))
        highest = peaks[np.argsort(-scores.flat[peaks])[:_PEAKS]]
        # Also start from the published orientation, which may be between the peaks of the grid.
        found = [self._climb(start, used) for start in (*self._grid[highest], np.zeros(3))]
        return max(found, key=lambda turn: self._score(turn, self._sharp)[used].sum())

    def gain(self, turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each frame's score of a rotation minus that of the published one, (F,)."""
        return self._score(turn, self._sharp) - self._score(np.zeros(3), self._sharp)

    def _climb(self, turn: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
        around = np.array(list(itertools.product((0.0, -1.0, 1.0), repeat=3)))
        for step in _FINE_DEG:
            while np.abs(turn).max() <= _REACH_DEG:
                scores = [
                    self._score(candidate, self._sharp)[used].sum()
                    for candidate in turn + step * around
                ]
                best = int(np.argmax(scores))
                if best == 0:
                    break
                turn = turn + step * around[best]
        return turn

    def _score(
        self, turn_deg: NDArray[np.float64], maps: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return each frame's total edge strength at its depth edges with the camera rotated."""
        R = np.asarray(cv2.Rodrigues(np.radians(turn_deg))[0], np.float64)
        return _summed(self._points, self._weights, self._frame, R, self._camera.lens, maps)


@njit(cache=True, nogil=True)
def _summed(
    points: NDArray[np.float64],
    weights: NDArray[np.float32],
    frame: NDArray[np.int64],
    R: NDArray[np.float64],
    lens: Lens,
    maps: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return for each frame the sum of edge strength at its points, 0 for points outside."""
    height, width = maps.shape[1:3]
    total = np.zeros(len(maps))
    for i in range(len(points)):
        x, y, z = points[i]
        # Turning the camera turns the points the other way.
        u, v = pixel(
            R[0, 0] * x + R[1, 0] * y + R[2, 0] * z,
            R[0, 1] * x + R[1, 1] * y + R[2, 1] * z,
            R[0, 2] * x + R[1, 2] * y + R[2, 2] * z,
            lens,
        )
        if -0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5:
            strength = maps[frame[i], int(v + 0.5), int(u + 0.5)]
            total[frame[i]] += weights[i, 0] * strength[0] + weights[i, 1] * strength[1]
    return total


def _by_beam(sweep: PointCloud) -> RangeImage | None:
    """Return the sweep's range image, None for sensors without beams."""
    beams = spinning_beams(sweep)
    if beams is None:
        return None
    return range_image(sweep, beams.ring, axis=beams.axis, descending=beams.descending)


def _cell_times(sweep: PointCloud, image: RangeImage) -> NDArray[np.float32]:
    """Return when each cell of a range image was measured, (H * W,) s; 0 where it is not known."""
    times = np.zeros(image.range.size, np.float32)
    if sweep.time is not None:
        known = np.flatnonzero((image.cell >= 0) & np.isfinite(sweep.time))
        far_first = np.argsort(-(sweep.x**2 + sweep.y**2 + sweep.z**2)[known], kind='stable')
        known = known[far_first]
        times[image.cell[known]] = sweep.time[known]
    return times


def _in_view(
    edges: DepthEdges, camera: CameraModel, T_camera_lidar: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return edges near the image, None if there are too few.

    Returns:
        (M, 3) metres in the optical frame, and (M, 2) how much each runs across u and across v.
    """
    R, t = T_camera_lidar[:3, :3], T_camera_lidar[:3, 3]
    inner, outer = (points @ R.T + t for points in (edges.inner, edges.outer))
    uv, _ = camera.project(outer)
    margin = np.radians(_REACH_DEG) / _PIXEL
    near = ((uv > -margin) & (uv < np.array([camera.width, camera.height]) + margin)).all(axis=1)
    across = camera.project(inner)[0] - uv
    length = np.linalg.norm(across, axis=1)
    chosen = np.flatnonzero(near & (length > 0))
    if len(chosen) < _MIN_EDGES:
        return None
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(_MAX_EDGES, len(chosen))).astype(int)]
    return outer[chosen], (across[chosen] / length[chosen, None]) ** 2


def _jumps(ranges: NDArray[np.float32], beside: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (beside > _JUMP * ranges) & (beside > ranges + _JUMP_M)


def _turned(
    points: NDArray[np.float64], azimuth: float, elevation: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Turn (M, 3) points about the third axis, and raise them by an angle."""
    x, y, z = points.T
    level = np.hypot(x, y)
    cosine, sine = np.cos(elevation), np.sin(elevation)
    nearer = (level * cosine - z * sine) / level
    x, y, z = x * nearer, y * nearer, z * cosine + level * sine
    cosine, sine = np.cos(azimuth), np.sin(azimuth)
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1)
