"""LiDAR models: firing patterns and the detection of returns."""

from __future__ import annotations

import dataclasses

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.parameters import LidarParameters
from offline_training.simulator.rays import rays_from
from offline_training.simulator.rendering import reflectance
from offline_training.simulator.world import World

POINT = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('intensity', '<f4'), ('t', '<f4'), ('ring', '<u2')]
)
POINT_WITHOUT_RING = np.dtype(POINT.descr[:-1])

# Positions in base_link, metres.
MOUNT = (0.9, 0.0, 1.95)  # on the roof
_SOLID_STATE_MOUNT = (1.6, 0.0, 1.55)  # behind the windscreen

# Nominal elevations of the beams, top to bottom, degrees (from the manufacturers' manuals).
ELEVATIONS_DEG: dict[str, NDArray[np.float64]] = {
    'pandar64': np.concatenate(
        [[15, 11, 8, 5, 3], np.linspace(2, -6, 49), np.arange(-7, -15, -1.0), [-19, -25]]
    ),
    'hdl64': np.concatenate([np.linspace(2.0, -8.33, 32), np.linspace(-8.83, -24.33, 32)]),
    'vlp32': np.array(
        [15, 10.333, 7, 4.667, 3.333, 2.333, 1.667, 1.333, 1, 0.667, 0.333, 0, -0.333, -0.667, -1,
         -1.333, -1.667, -2, -2.333, -2.667, -3, -3.333, -3.667, -4, -4.667, -5.333, -6.148,
         -7.254, -8.843, -11.31, -15.639, -25]
    ),
    'vlp16': np.linspace(15, -15, 16),
}  # fmt: skip
_COLUMNS = {'pandar64': 1800, 'hdl64': 2083, 'vlp32': 1800, 'vlp16': 1800}  # at 10 Hz
_SOLID_STATE_POINTS = 60000  # at 10 Hz

_MAX_RANGE_M = 200.0
_MIN_RANGE_M = 0.8
# A surface of reflectance 0.1 at normal incidence is detected with probability 0.5 at this range.
_HALF_DETECTED_M = 250.0
# Below this reflectance (glass, tyres) echoes are lost with some probability at any range.
_DARK = 0.1
_RANGE_NOISE_M = 0.012
_ELEVATION_SPREAD_DEG = 0.02  # standard deviation of a sensor's beams from the nominal table


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One sweep and the ground truth of its points.

    Attributes:
        points: (N,) structured, of dtype `POINT` or `POINT_WITHOUT_RING`, in the order of
            measurement. Coordinates are in the LiDAR's frame at the time of each point, metres;
            `t` is seconds relative to the header stamp.
        semantic: (N,) uint8 class index, 255 for false echoes and NaN points.
        instance: (N,) uint16 instance id, 0 for these.
    """

    points: NDArray[np.void]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]


class Lidar:
    """The LiDAR on the car.

    Attributes:
        T_base_lidar: (4, 4) pose of its frame in base_link.
        has_rings: whether it is a spinning LiDAR, whose points have a beam number.
    """

    def __init__(self, parameters: LidarParameters, rate_hz: float, seed: int) -> None:
        self._model = parameters.model
        self._period = 1.0 / rate_hz
        self._stamp_offset = self._period if parameters.stamp == 'end' else 0.0
        self.has_rings = parameters.model != 'solid_state'
        self.T_base_lidar = np.eye(4)
        yaw = np.radians(parameters.yaw_deg)
        self.T_base_lidar[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        self.T_base_lidar[:3, 3] = MOUNT if self.has_rings else _SOLID_STATE_MOUNT
        self._yaw = yaw
        self._rate_share = 10.0 / rate_hz
        if self.has_rings:
            nominal = ELEVATIONS_DEG[self._model]
            rng = np.random.default_rng([seed, 2])
            spread = rng.normal(0.0, _ELEVATION_SPREAD_DEG, len(nominal))
            self._spin = self._ring_pattern(np.sort(np.radians(nominal + spread))[::-1])

    def sweep(
        self,
        world: World,
        number: int,
        rain: float,
        nan_points: float,
        rng: np.random.Generator,
    ) -> Sweep:
        """Simulate one sweep.

        Args:
            world: to measure.
            number: of the sweep, which starts `number` periods after the start of the drive.
            rain: fraction of returns lost at 50 m; a few of these become false echoes near the
                sensor.
            nan_points: fraction of points whose coordinates are set to NaN.
            rng: draws noise, detections and faults.
        """
        start = number * self._period
        directions, fired = self._pattern(number)  # (F, B, 3), (F,)
        beams = directions.shape[1]
        poses = ego_poses(world.traffic, start + fired) @ self.T_base_lidar
        rays = rays_from(directions, poses)
        # All beams of a firing have the same time.
        hits = world.cast(rays, np.repeat(start + fired, beams))
        infrared = reflectance(rays, hits, world.materials)
        cosine = np.empty(len(rays), np.float32)
        echo = np.empty(len(rays), bool)
        _detect(rays, hits.distance, hits.normal, infrared, rng.random(len(rays)), cosine, echo)
        distance = hits.distance
        semantic, instance = world.class_of[hits.instance], hits.instance
        if rain > 0:
            lost = rng.random(len(rays)) < rain * np.minimum(distance, 1e4) / 50.0
            false = lost & (rng.random(len(rays)) < 0.04 * rain)
            nearby = 1.0 + rng.exponential(2.5, len(rays))
            false &= nearby < distance
            distance = np.where(false, nearby, distance)
            infrared = np.where(false, 0.02, infrared)
            semantic = np.where(false, np.uint8(IGNORE_LABEL), semantic)
            instance = np.where(false, np.uint16(0), instance)
            echo = (echo & ~lost) | false
        index = np.flatnonzero(echo)
        values = np.empty((len(index), 4), np.float32)
        _measure(
            index, directions.reshape(-1, 3), distance, infrared, cosine,
            rng.normal(0.0, _RANGE_NOISE_M, len(index)), rng.normal(1.0, 0.06, len(index)), values,
        )  # fmt: skip
        points = np.empty(len(index), POINT if self.has_rings else POINT_WITHOUT_RING)
        points['x'], points['y'], points['z'], points['intensity'] = values.T
        points['t'] = fired[index // beams] - self._stamp_offset
        if self.has_rings:
            points['ring'] = index % beams
        semantic, instance = semantic[index], instance[index]
        if nan_points > 0:
            broken = rng.random(len(index)) < nan_points
            for name in 'xyz':
                points[name][broken] = np.nan
            semantic = np.where(broken, np.uint8(IGNORE_LABEL), semantic)
            instance = np.where(broken, np.uint16(0), instance)
        return Sweep(points, semantic, instance)

    def passes(self, yaw: float) -> float:
        """Return the fraction of a sweep's duration after which the beams face a direction.

        Args:
            yaw: the direction, radians to the left of the car's forward axis.

        Returns:
            0 to 1; 0.5 for a sensor that does not rotate.
        """
        return (0.5 - yaw / (2 * np.pi)) % 1.0 if self.has_rings else 0.5

    def _pattern(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return (F, B, 3) unit directions in the LiDAR's frame, and (F,) seconds in the sweep."""
        return self._spin if self.has_rings else self._solid_state_pattern(number)

    def _ring_pattern(
        self, elevation: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the pattern of a spinning LiDAR with beams at (B,) elevations, see `_pattern`."""
        columns = round(_COLUMNS[self._model] * self._rate_share)
        fired = (np.arange(columns) + 0.5) / columns * self._period
        # Clockwise from the car's rear; half way through the sweep the beams face forward.
        azimuth = np.pi - 2 * np.pi * (np.arange(columns) + 0.5) / columns - self._yaw
        beams = len(elevation)
        # As in real sensors, the beams of a firing have different azimuth offsets.
        azimuths = azimuth[:, None] + np.radians(1.04) * (np.arange(beams) % 4 - 1.5)
        level = np.cos(elevation)
        directions = np.empty((columns, beams, 3), np.float32)
        directions[..., 0] = np.cos(azimuths) * level
        directions[..., 1] = np.sin(azimuths) * level
        directions[..., 2] = np.sin(elevation)
        return directions, fired

    def _solid_state_pattern(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the pattern of a sensor that scans a curve over 120 by 25 degrees, with B = 1.

        The curve differs from sweep to sweep.
        """
        count = round(_SOLID_STATE_POINTS * self._rate_share)
        fired = (np.arange(count) + 0.5) / count * self._period
        time = number * self._period + fired
        # Triangle waves of incommensurable frequencies cover the field of view evenly over time.
        azimuth = np.radians(60.0) * _triangle(623.41 * time) - self._yaw
        elevation = np.radians(12.5) * _triangle(17.77 * time) - np.radians(4.0)
        directions = np.stack(
            [
                np.cos(azimuth) * np.cos(elevation),
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
            ],
            axis=-1,
        )
        return directions[:, None].astype(np.float32), fired


def _triangle(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the triangle wave of period 1 between -1 and 1."""
    return 4.0 * np.abs(phase % 1.0 - 0.5) - 1.0


@njit(cache=True, nogil=True)
def _detect(rays, distance, normal, infrared, draw, cosine, echo):
    """Draw which echoes are detected: those of dark, oblique and distant surfaces may be too weak.

    Args:
        rays: (N, 6) float32 origins and unit directions.
        distance, normal: of the hits, see `Hits`.
        infrared: (N,) reflectance of the surfaces at the LiDAR's wavelength.
        draw: (N,) uniform random numbers in 0..1.
        cosine: (N,) float32 output: cosine of the angle of incidence.
        echo: (N,) bool output: whether the echo is detected.
    """
    weakest = _DARK / _HALF_DETECTED_M**2
    for i in range(len(rays)):
        d = distance[i]
        cosine[i] = -(
            normal[i, 0] * rays[i, 3] + normal[i, 1] * rays[i, 4] + normal[i, 2] * rays[i, 5]
        )
        power = infrared[i] * min(max(cosine[i], 0.0), 1.0) / (d * d)
        # The exponent 4 gives a transition as steep as that of a noisy detection threshold.
        strength = (power / weakest) ** 4
        chance = strength / (1.0 + strength) * min(infrared[i] / _DARK, 1.0)
        echo[i] = draw[i] < chance and _MIN_RANGE_M < d < _MAX_RANGE_M


@njit(cache=True, nogil=True)
def _measure(index, directions, distance, infrared, cosine, range_noise, gain, values):
    """Compute position and intensity of the detected echoes.

    Args:
        index: (M,) int64 indices of their rays.
        directions: (N, 3) unit directions of all rays in the LiDAR's frame.
        distance, infrared, cosine: (N,) of the hits, see `_detect`.
        range_noise: (M,) added to the distances, metres.
        gain: (M,) factor of the intensities.
        values: (M, 4) float32 output: x, y, z in the LiDAR's frame, metres, and intensity, an
            integer from 0 to 255.
    """
    for m in range(len(index)):
        i = index[m]
        d = distance[i] + range_noise[m]
        for k in range(3):
            values[m, k] = directions[i, k] * d
        bright = 255.0 * infrared[i] * np.sqrt(min(max(cosine[i], 0.05), 1.0)) * gain[m]
        values[m, 3] = np.round(min(max(bright, 0.0), 255.0))
