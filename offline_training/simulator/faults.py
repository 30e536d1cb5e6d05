"""Simulated faults: wrong stamps, late and lost messages, wrong extrinsics."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from offline_training.simulator.parameters import FaultParameters


@dataclasses.dataclass(frozen=True)
class Fate:
    """The simulated faults of one message.

    Attributes:
        stamp_ns: its header stamp, nanoseconds.
        arrival_ns: time of arrival at the recorder, by its clock, nanoseconds.
        lost: whether it never arrives.
    """

    stamp_ns: int
    arrival_ns: int
    lost: bool


class Clock:
    """Converts times of the drive to header stamps and arrival times, with the requested faults.

    All sensors stamp with one common clock, which may jump; the recorder's clock does not jump.
    """

    def __init__(
        self, start_ns: int, duration_s: float, faults: FaultParameters, rng: np.random.Generator
    ) -> None:
        self._start_ns, self._faults, self._rng = start_ns, faults, rng
        self.jump_at_s = duration_s / 2

    def stamp_ns(self, time_s: float) -> int:
        """Return the sensors' clock, nanoseconds, at a time of the drive, seconds."""
        jump = self._faults.clock_jump_s if time_s >= self.jump_at_s else 0.0
        return self.recorder_ns(time_s + jump)

    def recorder_ns(self, time_s: float) -> int:
        """Return the recorder's clock, nanoseconds, at a time of the drive, seconds."""
        return self._start_ns + round(time_s * 1e9)

    def fate(self, time_s: float, arrival_s: float, is_image: bool) -> Fate:
        """Draw the faults of an image or a sweep.

        Args:
            time_s: its true time, seconds of the drive.
            arrival_s: time of arrival unless it is late, seconds of the drive.
            is_image: whether stamp offset and jitter apply.
        """
        faults = self._faults
        # Always draw all of them, so that enabling one fault does not change the others.
        jitter, lost, late, delay = self._rng.normal(), *self._rng.random(3)
        error = faults.time_offset_s + faults.time_jitter_s * jitter if is_image else 0.0
        if late < faults.late:
            arrival_s += 0.2 + 0.4 * delay
        return Fate(
            self.stamp_ns(time_s) + round(error * 1e9),
            self.recorder_ns(arrival_s),
            bool(lost < faults.lost),
        )


def misaligned(
    T_base_camera: NDArray[np.float64], error_deg: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a camera's pose rotated by `error_deg` about a random axis, (4, 4)."""
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * error_deg, degrees=True)
    wrong = T_base_camera.copy()
    wrong[:3, :3] = T_base_camera[:3, :3] @ turn.as_matrix()
    return wrong
