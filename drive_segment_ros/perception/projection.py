"""A sweep's points in a camera's image, and which of them the camera can see."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.lenses import MARGIN, Lens, pixel
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.projected_points import ProjectedPoints


def view_times(
    cloud: PointCloud, camera: CameraModel, T_camera_lidar: NDArray[np.float64]
) -> tuple[float, float, float] | None:
    """Return when the LiDAR scanned the camera's field of view; the vehicle's motion is ignored.

    Args:
        cloud: the sweep.
        camera: any resolution.
        T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.

    Returns:
        First, median and last time, seconds relative to the sweep's stamp, of the points in the
        image widened by 5 % on each side. None where points carry no time or none is in view.
    """
    if cloud.time is None:
        return None
    T = camera.rotation @ T_camera_lidar[:3]
    x, y, z = _coordinates(cloud)
    candidates = _near_view(x, y, z, T, 0.0, 0.0, camera.lens.view_limit)
    time = np.ascontiguousarray(cloud.time)
    times = _times_in_view(x, y, z, time, candidates, T, camera.lens, camera.width, camera.height)
    if len(times) == 0:
        return None
    return float(times.min()), float(np.median(times)), float(times.max())


def project_sweep(
    cloud: PointCloud,
    camera: CameraModel,
    T_camera_lidar: NDArray[np.float64],
    motion: SweepMotion | None,
) -> ProjectedPoints:
    """Project a sweep into an image, each point moved from its own time to the image's instant.

    Args:
        cloud: the sweep. Points that are not finite are excluded; without point times all are
            assumed to be measured at the sweep's stamp.
        camera: at the resolution wanted.
        T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
        motion: of the LiDAR during the sweep, or None to take the points as they are.
    """
    T = (camera.rotation @ T_camera_lidar[:3])[None]
    start, knots_per_second = 0.0, 0.0
    if motion is not None:
        R, t = T[0, :, :3], T[0, :, 3]
        T = R @ motion.T
        T[:, :, 3] += t
        if len(T) > 1:
            start = float(motion.times[0])
            knots_per_second = (len(T) - 1) / float(motion.times[-1] - start)
    middle = T[len(T) // 2]
    off = np.abs(T - middle).max(axis=0)
    x, y, z = _coordinates(cloud)
    candidates = _near_view(
        x,
        y,
        z,
        middle,
        float(np.linalg.norm(off[:, :3])),
        float(np.linalg.norm(off[:, 3])),
        camera.lens.view_limit,
    )
    time = np.zeros(len(cloud), np.float32) if cloud.time is None else cloud.time
    index, values = _project(
        x,
        y,
        z,
        np.ascontiguousarray(time),
        candidates,
        # Interpolated between successive knots; the last one is repeated.
        np.concatenate([T, T[-1:]]),
        start,
        knots_per_second,
        camera.lens,
        camera.width,
        camera.height,
    )
    return ProjectedPoints(index, *values)


def _coordinates(cloud: PointCloud) -> list[NDArray[np.floating]]:
    """Return contiguous x, y, z: a fast copy, and one compiled version serves all layouts."""
    return [np.ascontiguousarray(values) for values in (cloud.x, cloud.y, cloud.z)]


@njit(cache=True, nogil=True)
def _near_view(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    z: NDArray[np.floating],
    T: NDArray[np.float64],
    turn: float,
    way: float,
    view_limit: float,
) -> NDArray[np.int32]:
    """Return the indices of all points that may be in view, with few others.

    Args:
        x, y, z: (N,) metres, LiDAR frame.
        T: (3, 4) camera from LiDAR.
        turn, way: how far a point may be off: metres per metre of its range, and metres.
        view_limit: squared tangent of the cone of view.
    """
    tangent = min(math.sqrt(view_limit), 1e6)
    a, b, c, d = T[0, 0], T[0, 1], T[0, 2], T[0, 3]
    e, f, g, h = T[1, 0], T[1, 1], T[1, 2], T[1, 3]
    k, o, m, n = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    turn *= 1.0 + tangent
    way *= 1.0 + tangent
    # First a loop without branches, which vectorises, then the indices: much faster.
    keep = np.empty(len(x), np.bool_)
    for i in range(len(x)):
        px, py, pz = np.float64(x[i]), np.float64(y[i]), np.float64(z[i])
        edge = tangent * (k * px + o * py + m * pz + n)
        edge += turn * (abs(px) + abs(py) + abs(pz)) + way
        u = a * px + b * py + c * pz + d
        v = e * px + f * py + g * pz + h
        # NaN fails both comparisons.
        keep[i] = (edge > 0.0) & (u * u + v * v <= edge * edge)
    found = np.empty(len(x), np.int32)
    count = 0
    for i in range(len(x)):
        found[count] = i
        count += keep[i]
    return found[:count]


@njit(cache=True, nogil=True)
def _times_in_view(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    z: NDArray[np.floating],
    time: NDArray[np.floating],
    candidates: NDArray[np.int32],
    T: NDArray[np.float64],
    lens: Lens,
    width: int,
    height: int,
) -> NDArray[np.float64]:
    """Return the times, s, of those candidates that lie in the widened image.

    Args:
        x, y, z: (N,) metres, LiDAR frame.
        time: (N,) seconds.
        candidates: (C,) indices into them.
        T: (3, 4) camera from LiDAR.
        lens: of the camera.
        width, height: of the image, px.
    """
    low_u, high_u = -MARGIN * width - 0.5, (1.0 + MARGIN) * width - 0.5
    low_v, high_v = -MARGIN * height - 0.5, (1.0 + MARGIN) * height - 0.5
    times = np.empty(len(candidates))
    count = 0
    for i in candidates:
        px = T[0, 0] * x[i] + T[0, 1] * y[i] + T[0, 2] * z[i] + T[0, 3]
        py = T[1, 0] * x[i] + T[1, 1] * y[i] + T[1, 2] * z[i] + T[1, 3]
        pz = T[2, 0] * x[i] + T[2, 1] * y[i] + T[2, 2] * z[i] + T[2, 3]
        u, v = pixel(px, py, pz, lens)
        if low_u <= u < high_u and low_v <= v < high_v and math.isfinite(time[i]):
            times[count] = time[i]
            count += 1
    return times[:count]


@njit(cache=True, nogil=True)
def _project(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    z: NDArray[np.floating],
    time: NDArray[np.floating],
    candidates: NDArray[np.int32],
    T: NDArray[np.float64],
    start: float,
    knots_per_second: float,
    lens: Lens,
    width: int,
    height: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Project the candidates.

    Args:
        x, y, z: (N,) metres, LiDAR frame.
        time: (N,) seconds; a time that is NaN takes the first knot.
        candidates: (C,) indices into them.
        T: (K, 3, 4) camera from LiDAR at evenly spaced knots, the last one twice.
        start: seconds, time of the first knot.
        knots_per_second: how dense they are; 0 where there is one.
        lens: of the camera.
        width, height: of the image, px.

    Returns:
        (M,) index and (5, M) u, v, depth, shift_u, shift_v of those in the image.
    """
    last = len(T) - 2
    # Compared after rounding to float32, so that no stored point lies outside the image.
    low, high_u, high_v = np.float32(-0.5), np.float32(width - 0.5), np.float32(height - 0.5)
    index = np.empty(len(candidates), np.int32)
    values = np.empty((5, len(candidates)), np.float32)
    count = 0
    for i in candidates:
        knot = (time[i] - start) * knots_per_second
        # Written so that a time that is NaN takes the first knot.
        if not knot > 0.0:
            knot = 0.0
        elif knot > last:
            knot = float(last)
        k = int(knot)
        w1 = knot - k
        w0 = 1.0 - w1
        px, py, pz = x[i], y[i], z[i]
        # The ray from the LiDAR in the camera's axes, then the point in the camera's frame.
        rx = w0 * (T[k, 0, 0] * px + T[k, 0, 1] * py + T[k, 0, 2] * pz) + w1 * (
            T[k + 1, 0, 0] * px + T[k + 1, 0, 1] * py + T[k + 1, 0, 2] * pz
        )
        ry = w0 * (T[k, 1, 0] * px + T[k, 1, 1] * py + T[k, 1, 2] * pz) + w1 * (
            T[k + 1, 1, 0] * px + T[k + 1, 1, 1] * py + T[k + 1, 1, 2] * pz
        )
        rz = w0 * (T[k, 2, 0] * px + T[k, 2, 1] * py + T[k, 2, 2] * pz) + w1 * (
            T[k + 1, 2, 0] * px + T[k + 1, 2, 1] * py + T[k + 1, 2, 2] * pz
        )
        depth = rz + w0 * T[k, 2, 3] + w1 * T[k + 1, 2, 3]
        u64, v64 = pixel(
            rx + w0 * T[k, 0, 3] + w1 * T[k + 1, 0, 3],
            ry + w0 * T[k, 1, 3] + w1 * T[k + 1, 1, 3],
            depth,
            lens,
        )
        u, v = np.float32(u64), np.float32(v64)
        if not (low <= u < high_u and low <= v < high_v):
            continue
        u_ray, v_ray = pixel(rx, ry, rz, lens)
        index[count] = i
        values[0, count] = u
        values[1, count] = v
        values[2, count] = depth
        values[3, count] = u64 - u_ray
        values[4, count] = v64 - v_ray
        count += 1
    return index[:count].copy(), values[:, :count].copy()
