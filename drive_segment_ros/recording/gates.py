"""Gates that select the pairs to record, evaluated from the cheapest to the most expensive."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from drive_segment_ros.recording import quality


@dataclasses.dataclass(frozen=True)
class GateParameters:
    """Parameters of the gates; without odometry, gates on motion let every pair pass."""

    min_interval: float = parameter(
        0.5,
        'shortest time between recorded images; neighbours at 10 Hz are nearly identical',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    min_distance: float = parameter(
        1.0,
        'shortest distance between recorded images, to skip repeated images of a standing vehicle',
        unit='m',
        minimum=0.0,
        maximum=1e4,
    )
    min_speed: float = parameter(
        0.0, 'lowest speed that is recorded', unit='m/s', minimum=0.0, maximum=100.0
    )
    max_speed: float = parameter(
        40.0,
        'highest speed that is recorded; rolling shutter distorts images above',
        unit='m/s',
        minimum=0.0,
        maximum=100.0,
    )
    min_yaw_rate_deg: float = parameter(
        0.0, 'lowest absolute yaw rate that is recorded', unit='deg/s', minimum=0.0, maximum=360.0
    )
    max_yaw_rate_deg: float = parameter(
        30.0,
        'highest absolute yaw rate that is recorded; a clock error of 10 ms is then 0.3 deg, 5 px '
        'at 960 px',
        unit='deg/s',
        minimum=0.0,
        maximum=360.0,
    )
    max_offset: float = parameter(
        0.06,
        'largest time offset of image and sweep, after correction by the offset of the camera; '
        'half a period at 10 Hz',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    min_sharpness: float = parameter(
        20.0,
        'lowest variance of the Laplacian of the grey image at working resolution; a street has '
        'over 1000, an image five times darker over 50, one blurred by 2 px only 6',
        minimum=0.0,
        maximum=1e6,
    )
    max_clipped: float = parameter(
        0.5,
        'largest share of pixels that are black or white; a road at night is below, a covered '
        'or glaring lens is not',
        minimum=0.0,
        maximum=1.0,
    )
    max_confidence: float = parameter(
        0.8,
        'with a model: an image with at least this mean confidence is recorded only if '
        'min_disagreement is reached too; 1 disables this gate',
        minimum=0.0,
        maximum=1.0,
    )
    min_disagreement: float = parameter(
        0.2,
        'with a model: share of segment pixels whose prediction differs from the majority '
        'prediction in their segment, from which an image is recorded despite its confidence',
        minimum=0.0,
        maximum=1.0,
    )


@dataclasses.dataclass(frozen=True)
class Moment:
    """The properties of a pair that are known without decoding its image.

    Attributes:
        stamp_ns: of the image, nanoseconds.
        offset_s: time difference of sweep and image, after the camera's offset, seconds.
        position: (3,) of the vehicle in the odometry frame, metres; None without odometry.
        speed: metres a second; None without odometry.
        yaw_rate_deg: degrees a second; None without odometry.
    """

    stamp_ns: int
    offset_s: float
    position: NDArray[np.float64] | None = None
    speed: float | None = None
    yaw_rate_deg: float | None = None


class Gates:
    """Decides on the pairs of one camera, in stages; keeps the last one recorded.

    Each stage returns the name of the gate that rejects a pair, empty if none does; later stages
    are more expensive.
    """

    def __init__(self, parameters: GateParameters) -> None:
        self._parameters = parameters
        self._last: Moment | None = None

    def of_moment(self, moment: Moment) -> str:
        """Decide by stamps and motion alone."""
        params = self._parameters
        turns = _within(moment.yaw_rate_deg, params.min_yaw_rate_deg, params.max_yaw_rate_deg)
        opens = {
            'offset': abs(moment.offset_s) <= params.max_offset,
            'too_soon': self._is_late_enough(moment),
            'too_near': self._is_far_enough(moment),
            'speed': _within(moment.speed, params.min_speed, params.max_speed),
            'yaw_rate': turns,
        }
        return next((name for name, is_open in opens.items() if not is_open), '')

    def of_image(self, image: NDArray[np.uint8]) -> str:
        """Decide by the picture, (H, W, 3) uint8 BGR at working resolution."""
        if quality.clipped(image) > self._parameters.max_clipped:
            return 'exposure'
        if quality.sharpness(image) < self._parameters.min_sharpness:
            return 'blurred'
        return ''

    def of_model(self, confidence: float, disagreement: Callable[[], float]) -> str:
        """Decide by the prediction of a model.

        Args:
            confidence: its mean confidence, 0 to 1.
            disagreement: returns the share of pixels in which model and segments disagree.
        """
        params = self._parameters
        if params.max_confidence >= 1.0 or confidence < params.max_confidence:
            return ''
        return '' if disagreement() >= params.min_disagreement else 'known'

    def passed(self, moment: Moment) -> None:
        """Register a recorded pair, also if the gates were bypassed."""
        self._last = moment

    def _is_late_enough(self, moment: Moment) -> bool:
        if self._last is None:
            return True
        since_s = (moment.stamp_ns - self._last.stamp_ns) * 1e-9
        # After a clock was set back, pairs must not be rejected until it has caught up.
        return since_s >= self._parameters.min_interval or since_s < 0.0

    def _is_far_enough(self, moment: Moment) -> bool:
        last = self._last
        if last is None or last.position is None or moment.position is None:
            return True
        way = float(np.linalg.norm(moment.position - last.position))
        return way >= self._parameters.min_distance


def _within(value: float | None, low: float, high: float) -> bool:
    """Return whether a value's magnitude is in a range; unknown values are."""
    return value is None or low <= abs(value) <= high
