"""Ray-cast images and sweeps of a vehicle that drives on a curve through a street of boxes.

Everything but the vehicle is static, so a point's position in the world depends only on the pose
at its own time.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

SPEED, YAW_RATE = 12.0, 0.35  # m/s, rad/s
GROUND = 1
FAR = 120.0
# Per box: minimum and maximum corner (x, y) and height in metres, and class.
_BOXES = [
    ((14.0, 3.0), (18.0, 5.0), 1.6, 'car'),
    ((20.0, -5.5), (24.5, -3.7), 1.5, 'car'),
    ((28.0, 2.0), (29.0, 3.0), 2.0, 'person'),
    ((33.0, -2.0), (35.0, 0.0), 2.5, 'car'),
    ((12.0, -9.0), (12.6, -8.4), 4.0, 'pole'),
    ((16.0, 9.0), (30.0, 14.0), 7.0, 'building'),
    ((14.0, -20.0), (34.0, -12.0), 8.0, 'building'),
    ((45.0, 8.0), (52.0, 30.0), 9.0, 'building'),
    ((48.0, -12.0), (50.0, 2.0), 6.0, 'building'),
    ((-20.0, 7.0), (-6.0, 12.0), 6.0, 'building'),
    ((-18.0, -9.0), (-5.0, -6.0), 3.0, 'building'),
    ((-12.0, -3.0), (-8.0, -1.2), 1.5, 'car'),
]
LOW = np.array([(*low, 0.0) for low, _, _, _ in _BOXES])
HIGH = np.array([(*high, top) for _, high, top, _ in _BOXES])
# Class by instance: 0 is the sky, 1 the ground, then the boxes.
NAMES = ['sky', 'road', *(name for _, _, _, name in _BOXES)]


def colours() -> NDArray[np.uint8]:
    """Return a clearly different colour for each instance, (I, 3) uint8 BGR."""
    hues = (np.arange(len(NAMES)) * 67 % 180).astype(np.uint8)
    hsv = np.stack([hues, np.full(len(hues), 200, np.uint8), 90 + hues % 3 * 70], 1)
    hsv[0], hsv[1] = (100, 60, 235), (0, 0, 90)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2BGR)[0]


def pose(time_s: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T_world_base (..., 4, 4) of a vehicle that drives along a circle."""
    time = np.asarray(time_s, np.float64)
    yaw, radius = YAW_RATE * time, SPEED / YAW_RATE
    T = np.zeros((*time.shape, 4, 4))
    T[..., 0, 0] = T[..., 1, 1] = np.cos(yaw)
    T[..., 1, 0], T[..., 0, 1] = np.sin(yaw), -np.sin(yaw)
    T[..., 0, 3], T[..., 1, 3] = radius * np.sin(yaw), radius * (1.0 - np.cos(yaw))
    T[..., 2, 2] = T[..., 3, 3] = 1.0
    return T


def cast(
    origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the range of each ray, (N,) metres, and the instance that it hits, 0 for none."""
    distance = np.full(len(direction), np.inf)
    instance = np.zeros(len(direction), np.int64)
    with np.errstate(divide='ignore', invalid='ignore'):
        down = -origin[:, 2] / direction[:, 2]
        hit = (direction[:, 2] < 0) & (down < FAR)
        distance[hit], instance[hit] = down[hit], GROUND
        for k, (low, high) in enumerate(zip(LOW, HIGH, strict=True)):
            a, b = (low - origin) / direction, (high - origin) / direction
            enter = np.nanmax(np.minimum(a, b), axis=1)
            leave = np.nanmin(np.maximum(a, b), axis=1)
            hit = (enter < leave) & (enter > 0.1) & (enter < distance) & (enter < FAR)
            distance[hit], instance[hit] = enter[hit], k + 2
    return distance, instance


def picture(
    T_base_camera: NDArray[np.float64],
    K: NDArray[np.float64],
    size: tuple[int, int],
    time_s: float,
) -> NDArray[np.int64]:
    """Return the instance of each pixel, (H, W), in an image taken at a time."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(K).T
    T = pose(time_s) @ T_base_camera
    origin = np.broadcast_to(T[:3, 3], rays.shape)
    return cast(origin, rays @ T[:3, :3].T)[1].reshape(size[1], size[0])


def encoded(instances: NDArray[np.int64], suffix: str = '.png') -> bytes:
    """Return an image of instances, in their colours, as an encoded file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 98] if suffix == '.jpg' else []
    return cv2.imencode(suffix, colours()[instances], options)[1].tobytes()


@dataclasses.dataclass(frozen=True)
class Returns:
    """The returns of a sweep; as `sweep` makes them, beam by beam.

    Attributes:
        xyz: (N, 3) metres, LiDAR frame at the time of each point.
        world: (N, 3) metres, world frame.
        time: (N,) seconds of the drive.
        row: (N,) index of the beam.
        instance: (N,) instance that was hit.
    """

    xyz: NDArray[np.float64]
    world: NDArray[np.float64]
    time: NDArray[np.float64]
    row: NDArray[np.int64]
    instance: NDArray[np.int64]

    def where(self, chosen: NDArray) -> Returns:
        return Returns(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    def at(self, time_s: float, T_base_lidar: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points compensated to a time, (N, 3) metres, LiDAR frame at that time."""
        T = np.linalg.inv(pose(time_s) @ T_base_lidar)
        return self.world @ T[:3, :3].T + T[:3, 3]


def sweep(
    T_base_lidar: NDArray[np.float64],
    elevation_deg: NDArray[np.float64],
    azimuth: NDArray[np.float64],
    time_s: NDArray[np.float64],
) -> Returns:
    """Cast a sweep.

    Args:
        T_base_lidar: (4, 4).
        elevation_deg: (B,) elevation of each beam.
        azimuth: (C,) rad, LiDAR frame, in the order of the points of a beam.
        time_s: (C,) when each azimuth is measured, seconds of the drive.
    """
    elevation = np.radians(elevation_deg)
    row, column = np.divmod(np.arange(len(elevation) * len(azimuth)), len(azimuth))
    e, a, time = elevation[row], azimuth[column], time_s[column]
    ray = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1)
    T = (pose(time_s) @ T_base_lidar)[column]
    direction = np.einsum('nij,nj->ni', T[:, :3, :3], ray)
    distance, instance = cast(T[:, :3, 3], direction)
    seen = instance > 0
    distance = distance[seen]
    world = T[seen, :3, 3] + distance[:, None] * direction[seen]
    return Returns(distance[:, None] * ray[seen], world, time[seen], row[seen], instance[seen])
