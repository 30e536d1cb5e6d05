"""The vehicle's motion: poses over time, and the motion compensation of a sweep's points."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drive_segment_ros.errors import MotionError
from drive_segment_ros.perception.transforms import (
    inverse,
    numbers,
    quaternion_matrix,
    unit_quaternion,
)

# Between knots motion is taken as linear. At 100 degrees/s a turn of 0.5 degrees lies between
# two, whose chord is 1e-5 of the range off the arc.
_KNOT_SPACING_S = 0.005
# A stamp further back than this is a loop of a bag or a clock step, not a late sample.
JUMP_BACK_NS = 1_000_000_000
# Poses are not interpolated between samples further apart; GNSS alone gives one a second.
_LONGEST_GAP_NS = 1_500_000_000
_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class SweepMotion:
    """The poses of a LiDAR during a sweep relative to its pose at an image's instant.

    Attributes:
        times: (K,) float64, evenly spaced seconds relative to the sweep's stamp, K at least 1.
        T: (K, 3, 4) float64, maps a point measured at `times[k]` in the LiDAR's frame to the
            LiDAR's frame at the image's instant. Between knots it is interpolated, beyond them
            the nearest holds.
        T_odom_base: (4, 4) float64, the vehicle's pose at the image's instant.
    """

    times: NDArray[np.float64]
    T: NDArray[np.float64]
    T_odom_base: NDArray[np.float64]


class Trajectory:
    """Poses of the vehicle in an odometry frame, interpolated between samples.

    A pose depends only on the two samples around it, so that a drive and its recording give the
    same poses.
    """

    def __init__(self, max_age_s: float = 10.0) -> None:
        """Keep the samples of the last `max_age_s` seconds before the newest."""
        self._max_age_ns = round(max_age_s / _NS)
        self._stamps: list[int] = []
        self._translations: list[NDArray[np.float64]] = []
        self._quaternions: list[NDArray[np.float64]] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def clear(self) -> None:
        """Remove all samples, for example after a jump of the clock."""
        self._truncate(len(self._stamps))

    def add(self, stamp_ns: int, translation: ArrayLike, quaternion_xyzw: ArrayLike) -> None:
        """Add the pose of the vehicle's base in the odometry frame.

        Samples may come in any order; one with a known stamp replaces the older one. A sample
        more than `max_age_s` before the newest means that time was reset: it clears the rest.

        Args:
            stamp_ns: nanoseconds.
            translation: (3,) metres.
            quaternion_xyzw: (4,), normalised here.

        Raises:
            MotionError: if a number is not finite or the quaternion is zero.
        """
        position = np.array(translation, np.float64)
        quaternion = unit_quaternion(quaternion_xyzw)
        if quaternion is None or not np.isfinite(position).all():
            raise MotionError(
                f'odometry at {stamp_ns} ns is not a valid pose: translation '
                f'{numbers(position)}, quaternion {numbers(quaternion_xyzw)}; it is ignored'
            )
        if self._stamps and stamp_ns < self._stamps[-1] - self._max_age_ns:
            self._truncate(len(self._stamps))
        at = bisect.bisect_left(self._stamps, stamp_ns)
        replaced = slice(at, at + (at < len(self._stamps) and self._stamps[at] == stamp_ns))
        self._stamps[replaced] = [stamp_ns]
        self._translations[replaced] = [position]
        self._quaternions[replaced] = [quaternion]
        self._truncate(bisect.bisect_left(self._stamps, self._stamps[-1] - self._max_age_ns))

    def window(self, first_ns: int, last_ns: int) -> Trajectory:
        """Return a copy of the samples of an interval and one more on each side."""
        first = max(bisect.bisect_left(self._stamps, first_ns) - 1, 0)
        last = bisect.bisect_right(self._stamps, last_ns) + 1
        part = Trajectory(self._max_age_ns * _NS)
        part._stamps = self._stamps[first:last]
        part._translations = self._translations[first:last]
        part._quaternions = self._quaternions[first:last]
        return part

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """Return T_odom_base (4, 4) at an instant.

        Raises:
            MotionError: as `poses`.
        """
        return self.poses([stamp_ns])[0]

    def poses(self, stamps_ns: list[int]) -> NDArray[np.float64]:
        """Return T_odom_base (K, 4, 4): position linear, orientation on the great circle (slerp).

        Raises:
            MotionError: if an instant lies before the first or after the last sample, or between
                samples that are too far apart.
        """
        self._require(min(stamps_ns), max(stamps_ns))
        after = [bisect.bisect_left(self._stamps, stamp) for stamp in stamps_ns]
        before = [
            i if self._stamps[i] == stamp else i - 1
            for i, stamp in zip(after, stamps_ns, strict=True)
        ]
        p0, p1 = (np.array([self._translations[i] for i in side]) for side in (before, after))
        q0, q1 = (np.array([self._quaternions[i] for i in side]) for side in (before, after))
        t0, t1 = (np.array([self._stamps[i] for i in side]) for side in (before, after))
        # Differences in integers: float64 seconds since 1970 are 240 ns coarse.
        since, gap = np.array(stamps_ns) - t0, t1 - t0
        part = (since / np.maximum(gap, 1))[:, None]
        T = np.zeros((len(stamps_ns), 4, 4))
        T[:, :3, :3] = quaternion_matrix(slerp(q0, q1, part))
        T[:, :3, 3] = p0 + part * (p1 - p0)
        T[:, 3, 3] = 1.0
        return T

    def speed_and_yaw_rate(self, stamp_ns: int, over_s: float = 0.2) -> tuple[float, float]:
        """Return how fast the vehicle moves (m/s) and turns (rad/s), over the time before.

        Raises:
            MotionError: if the samples do not cover that time.
        """
        before, now = self.poses([stamp_ns - round(over_s * 1e9), stamp_ns])
        step = inverse(before) @ now
        turn = math.atan2(step[1, 0], step[0, 0])
        return float(np.linalg.norm(step[:3, 3])) / over_s, turn / over_s

    def sweep_motion(
        self,
        sweep_stamp_ns: int,
        image_stamp_ns: int,
        T_base_lidar: NDArray[np.float64],
        start_s: float,
        end_s: float,
    ) -> SweepMotion:
        """Return how to move a sweep's points to an image's instant.

        Args:
            sweep_stamp_ns: the sweep's stamp, to which point times refer.
            image_stamp_ns: the instant to move to.
            T_base_lidar: (4, 4) LiDAR in the vehicle's base frame.
            start_s: earliest point time needed, seconds relative to the sweep's stamp.
            end_s: latest.

        Raises:
            MotionError: if the sweep's part or the image's instant is not covered.
        """
        count = 1 + math.ceil((end_s - start_s) / _KNOT_SPACING_S)
        times = np.linspace(start_s, end_s, count)
        stamps = [sweep_stamp_ns + round(time / _NS) for time in times.tolist()]
        T_odom_base = self.poses([image_stamp_ns, *stamps])
        T_odom_lidar = T_odom_base @ T_base_lidar
        T = inverse(T_odom_lidar[0]) @ T_odom_lidar[1:]
        return SweepMotion(times, np.ascontiguousarray(T[:, :3]), T_odom_base[0])

    def _require(self, start_ns: int, end_ns: int) -> None:
        if not self._stamps:
            raise MotionError('no odometry yet; publish /tf or nav_msgs/Odometry')
        early = (self._stamps[0] - start_ns) * 1e-6
        late = (end_ns - self._stamps[-1]) * 1e-6
        if early > 0 or late > 0:
            missing = [f'starts {early:.1f} ms too late'] if early > 0 else []
            missing += [f'ends {late:.1f} ms too early'] if late > 0 else []
            raise MotionError(
                f'odometry {" and ".join(missing)} for the interval {start_ns} to {end_ns} ns; '
                'wait for more samples, or check the clock of its publisher'
            )
        gap = self._gap_ns(start_ns, end_ns)
        if gap > _LONGEST_GAP_NS:
            raise MotionError(
                f'odometry has a gap of {gap * 1e-9:.1f} s in the interval {start_ns} to {end_ns} '
                'ns; check why it was lost'
            )

    def _gap_ns(self, start_ns: int, end_ns: int) -> int:
        """Return the longest time between successive samples that cover an interval."""
        first = bisect.bisect_right(self._stamps, start_ns) - 1
        last = bisect.bisect_left(self._stamps, end_ns)
        needed = self._stamps[first : last + 1]
        return max((b - a for a, b in itertools.pairwise(needed)), default=0)

    def _truncate(self, count: int) -> None:
        """Drop the `count` oldest samples."""
        for samples in (self._stamps, self._translations, self._quaternions):
            del samples[:count]


def slerp(
    q0: NDArray[np.float64], q1: NDArray[np.float64], part: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate unit quaternions along the shorter great circle (Shoemake 1985).

    Args:
        q0, q1: (K, 4) unit quaternions.
        part: (K, 1) in 0..1, 0 gives q0 and 1 gives q1 (or -q1, the same rotation).

    Returns:
        (K, 4) unit quaternions.
    """
    cosine = np.sum(q0 * q1, axis=1, keepdims=True)
    # q and -q are the same rotation; take the one in q0's hemisphere.
    q1 = np.where(cosine < 0, -q1, q1)
    angle = np.arccos(np.minimum(np.abs(cosine), 1.0))
    # Near 0 the sines cancel; their ratio is then linear to 1e-9.
    near = angle < 1e-4
    sine = np.where(near, 1.0, np.sin(angle))
    w0 = np.where(near, 1.0 - part, np.sin((1.0 - part) * angle) / sine)
    w1 = np.where(near, part, np.sin(part * angle) / sine)
    q = w0 * q0 + w1 * q1
    return q / np.linalg.norm(q, axis=1, keepdims=True)
