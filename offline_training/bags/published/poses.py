"""The vehicle's poses as published by a set."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import inverse

# A pose every so often where none was published, ns.
_STEP_NS = 20_000_000
_FOR_EVER_S = 1e9
SINGLE_POSE = '{}: it has a single pose; the vehicle is assumed to be stationary'


@dataclasses.dataclass(frozen=True)
class Poses:
    """Poses of the vehicle.

    Attributes:
        stamps_ns: (P,) int64, ascending, no two alike.
        T_odom_base: (P, 4, 4), z of odom is up.
    """

    stamps_ns: NDArray[np.int64]
    T_odom_base: NDArray[np.float64]

    @staticmethod
    def of(stamps_ns: NDArray[np.int64], T_world_base: NDArray[np.float64]) -> Poses:
        """Return poses in order of time, the first of those at one instant, odom at the first.

        The frame odom has the world's axes, so that positions are small.
        """
        stamps, order = np.unique(np.asarray(stamps_ns, np.int64), return_index=True)
        T = np.array(T_world_base, np.float64)[order]
        T[:, :3, 3] -= T[0, :3, 3].copy()
        return Poses(stamps, T)

    @functools.cached_property
    def trajectory(self) -> Trajectory:
        """The poses, to be interpolated."""
        trajectory = Trajectory(_FOR_EVER_S)
        for stamp, T, turn in zip(
            self.stamps_ns.tolist(), self.T_odom_base, self.quaternions(), strict=True
        ):
            trajectory.add(stamp, T[:3, 3], turn)
        return trajectory

    def quaternions(self) -> NDArray[np.float64]:
        """Return (P, 4) unit quaternions x y z w, w not negative."""
        turns = Rotation.from_matrix(self.T_odom_base[:, :3, :3]).as_quat()
        return np.where(turns[:, 3:] < 0, -turns, turns)

    def covering(self, first_ns: int, last_ns: int) -> Poses:
        """Return poses that cover an interval: beyond the ends the vehicle goes on as it did.

        By a single pose it is taken to stand.
        """
        if len(self.stamps_ns) == 1:
            stamps = np.unique([first_ns, *self.stamps_ns, last_ns])
            return Poses(stamps, np.repeat(self.T_odom_base, len(stamps), axis=0))
        before = _beyond(self.stamps_ns[:2], self.T_odom_base[:2], first_ns)
        after = _beyond(self.stamps_ns[:-3:-1], self.T_odom_base[:-3:-1], last_ns)
        return Poses(
            np.concatenate([before[0][::-1], self.stamps_ns, after[0]]),
            np.concatenate([before[1][::-1], self.T_odom_base, after[1]]),
        )


def _beyond(
    stamps_ns: NDArray[np.int64], T: NDArray[np.float64], until_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return stamps and poses from the first of two on, away from the second, to an instant."""
    here, other = (int(stamp) for stamp in stamps_ns)
    away = 1 if here > other else -1
    steps = -(-max(0, away * (until_ns - here)) // _STEP_NS)
    stamps = here + away * _STEP_NS * np.arange(1, steps + 1, dtype=np.int64)
    step = inverse(T[1]) @ T[0]
    part = (stamps - here) / (here - other)
    turn = Rotation.from_matrix(step[:3, :3]).as_rotvec()
    beyond = np.tile(np.eye(4), (steps, 1, 1))
    beyond[:, :3, :3] = Rotation.from_rotvec(part[:, None] * turn).as_matrix()
    beyond[:, :3, 3] = part[:, None] * step[:3, 3]
    return stamps, T[0] @ beyond


def as_measured(
    xyz: NDArray[np.floating],
    time: NDArray[np.floating],
    stamp_ns: int,
    poses: Poses,
    T_base_lidar: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return points, which a set has moved to one instant, where the sensor measured them.

    Seen from there each beam has its one elevation again. Whoever moves them to an instant by the
    same poses finds them where they were published.

    Args:
        xyz: (N, 3) metres, in the LiDAR's frame at the instant they were moved to.
        time: (N,) seconds after that instant, when each was measured.
        stamp_ns: the instant, nanoseconds.
        poses: that cover all of it.
        T_base_lidar: (4, 4).

    Raises:
        MotionError: if the poses do not cover the sweep.
    """
    motion = poses.trajectory.sweep_motion(
        stamp_ns, stamp_ns, T_base_lidar, float(time.min()), float(time.max())
    )
    T = np.tile(np.eye(4), (len(motion.T) + 1, 1, 1))
    # From one knot to the next is interpolated, as points are on their way into an image; the
    # last knot stands twice.
    T[:, :3] = np.concatenate([motion.T, motion.T[-1:]])
    T = inverse(T)
    last = len(motion.times) - 1
    span = float(motion.times[-1] - motion.times[0])
    knot = (np.asarray(time, np.float64) - motion.times[0]) * (last / span if last else 0.0)
    before = np.clip(knot.astype(int), 0, last)
    part = np.clip(knot - before, 0.0, 1.0)[:, None]
    return ((1.0 - part) * _moved(T[before], xyz) + part * _moved(T[before + 1], xyz)).astype(
        np.float32
    )


def _moved(T: NDArray[np.float64], xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (N, 3) points, each moved by its own of (N, 4, 4) transforms."""
    return np.einsum('nij,nj->ni', T[:, :3, :3], xyz) + T[:, :3, 3]
