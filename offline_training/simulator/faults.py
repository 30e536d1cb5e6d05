"""Simulated faults of messages: stamps, arrival, calibration."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from offline_training.simulator.parameters import FaultParameters


@dataclasses.dataclass(frozen=True)
class Fate:
    """The fate of one message.

    Attributes:
        stamp_ns: its header stamp.
        arrival_ns: time of arrival at the recorder.
        lost: whether it never arrives.
    """

    stamp_ns: int
    arrival_ns: int
    lost: bool


class Clock:
    """Converts the drive's time to stamps, with the requested faults.

    Sensors stamp with their common clock, which may jump; the recorder's own clock never does.
    """

    def __init__(
        self, start_ns: int, duration_s: float, faults: FaultParameters, rng: np.random.Generator
    ) -> None:
        self._start_ns, self._faults, self._rng = start_ns, faults, rng
        self.jump_at_s = duration_s / 2

    def stamp_ns(self, time_s: float) -> int:
        """Return the sensors' clock at an instant of the drive."""
        jump = self._faults.clock_jump_s if time_s >= self.jump_at_s else 0.0
        return self.recorder_ns(time_s + jump)

    def recorder_ns(self, time_s: float) -> int:
        """Return the recorder's clock at an instant of the drive."""
        return self._start_ns + round(time_s * 1e9)

    def fate(self, time_s: float, arrival_s: float, is_image: bool) -> Fate:
        """Draw the fate of an image or a sweep whose true stamp is `time_s`."""
        faults = self._faults
        # Drawn for every message alike, so that one fault leaves the others' draws alone.
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
    """Return a camera's pose turned by an angle about an axis drawn at random, (4, 4)."""
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * error_deg, degrees=True)
    wrong = T_base_camera.copy()
    wrong[:3, :3] = T_base_camera[:3, :3] @ turn.as_matrix()
    return wrong
