"""Which pairs are worth a frame: gates, each a parameter, looked at from the cheapest on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter


@dataclasses.dataclass(frozen=True)
class GateParameters:
    """What a pair must be like to be recorded; gates on motion need odometry, else all pass."""

    min_interval: float = parameter(
        0.5,
        'shortest time between recorded images; neighbours at 10 Hz teach nearly the same',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    min_distance: float = parameter(
        1.0,
        'shortest way between recorded images, so that a red light is not recorded over and over',
        unit='m',
        minimum=0.0,
        maximum=1e4,
    )
    min_speed: float = parameter(
        0.0, 'slowest speed that is recorded', unit='m/s', minimum=0.0, maximum=100.0
    )
    max_speed: float = parameter(
        40.0,
        'fastest speed that is recorded; images of a rolling shutter bend beyond',
        unit='m/s',
        minimum=0.0,
        maximum=100.0,
    )
    min_yaw_rate_deg: float = parameter(
        0.0, 'slowest turn, either way, that is recorded', unit='deg/s', minimum=0.0, maximum=360.0
    )
    max_yaw_rate_deg: float = parameter(
        30.0,
        'fastest turn, either way, that is recorded; 10 ms of clock error are then 0.3 deg, 5 px '
        'at 960 px',
        unit='deg/s',
        minimum=0.0,
        maximum=360.0,
    )
    max_offset: float = parameter(
        0.06,
        'largest offset of image and sweep after the offset of the camera; half a period at 10 Hz',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    min_sharpness: float = parameter(
        20.0,
        'least variance of the Laplacian of the grey image at working resolution; a street has '
        'over 1000, five times darker still over 50, blurred by 2 px only 6',
        minimum=0.0,
        maximum=1e6,
    )
    max_clipped: float = parameter(
        0.5,
        'largest share of pixels that are black or white; a night road stays below, a covered '
        'lens or the sun in it does not',
        minimum=0.0,
        maximum=1.0,
    )
    max_confidence: float = parameter(
        0.8,
        'with a model, an image whose mean confidence reaches this is recorded only if '
        'min_disagreement is reached too; 1 switches this gate off',
        minimum=0.0,
        maximum=1.0,
    )
    min_disagreement: float = parameter(
        0.2,
        'with a model, share of the pixels with a segment that the model calls otherwise than '
        'most of that segment, from which on an image is recorded in spite of its confidence',
        minimum=0.0,
        maximum=1.0,
    )


class Candidate(Protocol):
    """A pair that may be recorded; what is costly is computed when first asked for."""

    @property
    def stamp_ns(self) -> int:
        """Of the image, nanoseconds."""

    @property
    def offset_s(self) -> float:
        """By how much sweep and image differ, after the camera's offset, seconds."""

    @property
    def position(self) -> NDArray[np.float64] | None:
        """(3,) of the vehicle in the odometry frame, metres; None without odometry."""

    @property
    def speed(self) -> float | None:
        """Metres a second; None without odometry."""

    @property
    def yaw_rate_deg(self) -> float | None:
        """Degrees a second; None without odometry."""

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian."""

    @property
    def clipped(self) -> float:
        """Share of pixels that are black or white."""

    @property
    def confidence(self) -> float | None:
        """The model's mean confidence, 0 to 1; None without a model."""

    @property
    def disagreement(self) -> float:
        """Share of pixels in which model and LiDAR segments disagree; 0 without a model."""


class Gates:
    """Decides pair after pair; remembers the last that was recorded."""

    def __init__(self, parameters: GateParameters) -> None:
        self._parameters = parameters
        self._last: tuple[int, NDArray[np.float64] | None] | None = None
        self._gates: dict[str, Callable[[Candidate], bool]] = {
            'offset': lambda c: abs(c.offset_s) <= parameters.max_offset,
            'too_soon': self._late_enough,
            'too_near': self._far_enough,
            'speed': lambda c: _within(c.speed, parameters.min_speed, parameters.max_speed),
            'yaw_rate': lambda c: _within(
                c.yaw_rate_deg, parameters.min_yaw_rate_deg, parameters.max_yaw_rate_deg
            ),
            'exposure': lambda c: c.clipped <= parameters.max_clipped,
            'blurred': lambda c: c.sharpness >= parameters.min_sharpness,
            'known': self._is_news,
        }

    def refusal(self, candidate: Candidate) -> str:
        """Return the name of the first gate that keeps a pair out; empty if none does.

        Raises:
            ImageError, CalibrationError: if its image cannot be read.
        """
        return next((name for name, opens in self._gates.items() if not opens(candidate)), '')

    def passed(self, candidate: Candidate) -> None:
        """Note that a pair is recorded, whatever the gates said."""
        self._last = candidate.stamp_ns, candidate.position

    def _late_enough(self, candidate: Candidate) -> bool:
        if self._last is None:
            return True
        since_s = (candidate.stamp_ns - self._last[0]) * 1e-9
        # A clock that was set back must not keep everything out until it has caught up.
        return since_s >= self._parameters.min_interval or since_s < 0.0

    def _far_enough(self, candidate: Candidate) -> bool:
        if self._last is None or self._last[1] is None or candidate.position is None:
            return True
        way = float(np.linalg.norm(candidate.position - self._last[1]))
        return way >= self._parameters.min_distance

    def _is_news(self, candidate: Candidate) -> bool:
        confidence = candidate.confidence
        if confidence is None or confidence < self._parameters.max_confidence:
            return True
        if self._parameters.max_confidence >= 1.0:
            return True
        return candidate.disagreement >= self._parameters.min_disagreement


def _within(value: float | None, low: float, high: float) -> bool:
    """Tell whether a value, of either sign, lies in a range; one not known does."""
    return value is None or low <= abs(value) <= high
