"""Camera models: the ray of each pixel, rendering, and the image sensor."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError
from offline_training.simulator.bodies import Hits
from offline_training.simulator.parameters import CAMERA_YAW_DEG, CameraParameters
from offline_training.simulator.rays import rays_from
from offline_training.simulator.rendering import Look, radiance
from offline_training.simulator.shadows import sunlight
from offline_training.simulator.world import World

# Position at the windscreen's upper edge, metres in base_link (x forward, y left, z up).
_MOUNT_RADIUS, _MOUNT_HEIGHT = 0.55, 1.55
_PITCH_DEG = 2.0  # downwards
_DISTORTION = {
    'pinhole': (0.0, 0.0, 0.0, 0.0, 0.0),
    'plumb_bob': (-0.28, 0.09, 0.0006, -0.0004, -0.012),
    'equidistant': (0.021, -0.0042, 0.0011, -0.0002),
}
_READ_NOISE, _SHOT_NOISE = np.float32(0.006), np.float32(0.012)  # relative to saturation


@dataclasses.dataclass(frozen=True)
class Shot:
    """One image and its ground truth, each of shape (H, W)."""

    image: NDArray[np.uint8]  # (H, W, 3) BGR
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    distance: NDArray[np.float32]  # metres along the pixel's ray, infinite for the sky


@dataclasses.dataclass(frozen=True)
class Exposure:
    """Rays, hits and sunlight of the pixels of one image, in row order."""

    rays: NDArray[np.float32]  # (H * W, 6)
    hits: Hits
    lit: NDArray[np.bool_]


class Camera:
    """One camera on the car.

    Attributes:
        name: a key of `CAMERA_YAW_DEG`.
        yaw: viewing direction, radians to the left of forward.
        width, height: of the image, px.
        K: (3, 3) camera matrix.
        D: distortion coefficients, in the order of sensor_msgs/CameraInfo.
        distortion_model: name of the model in sensor_msgs/CameraInfo.
        T_base_camera: (4, 4) pose of the optical frame in base_link.
        directions: (H * W, 3) float32 unit vector of each pixel's ray, in the optical frame.
    """

    def __init__(self, name: str, parameters: CameraParameters) -> None:
        width, height = parameters.width, parameters.height
        half_angle = np.radians(parameters.field_of_view_deg) / 2
        self.name = name
        self.width, self.height = width, height
        self._model = parameters.model
        # CameraInfo describes a lens without distortion as plumb_bob with zero coefficients.
        fisheye = parameters.model == 'equidistant'
        self.distortion_model = 'equidistant' if fisheye else 'plumb_bob'
        focal = width / 2 / (2 * half_angle if fisheye else np.tan(half_angle))
        self.K = np.array(
            [[focal, 0, width / 2 - 3.2], [0, focal * 1.001, height / 2 + 2.1], [0, 0, 1.0]]
        )
        self.D = np.array(_DISTORTION[parameters.model])
        self.yaw = float(np.radians(CAMERA_YAW_DEG[name]))
        self.T_base_camera = _mount(self.yaw)
        self.directions = self._look()
        self._pixel_angle = float(1.0 / focal)
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        self._vignette = (1.0 - 0.16 * (x**2 + y**2)).astype(np.float32)

    def expose(self, world: World, T_world_base: NDArray[np.float64], time_s: float) -> Exposure:
        """Cast the rays of all pixels at one time (global shutter).

        Args:
            world: to cast into.
            T_world_base: (4, 4) pose of base_link at that time.
            time_s: time of the exposure, seconds of the drive.
        """
        pose = T_world_base @ self.T_base_camera
        rays = rays_from(self.directions[None], pose[None])
        shape = (self.height, self.width)
        hits = world.cast(rays, np.array([time_s]), shape)
        lit = sunlight(world, rays, hits, shape, time_s)
        return Exposure(rays, hits, lit)

    def develop(
        self,
        exposure: Exposure,
        world: World,
        look: Look,
        brightness: float,
        rng: np.random.Generator,
    ) -> Shot:
        """Render an exposure to an image and its ground truth.

        Args:
            exposure: made by `expose`.
            world: of the exposure.
            look: the weather.
            brightness: factor of the image's brightness.
            rng: draws the sensor's noise.
        """
        hits, shape = exposure.hits, (self.height, self.width)
        light = radiance(
            exposure.rays, hits, exposure.lit, world.materials, look, self._pixel_angle
        )
        return Shot(
            self._picture(light.reshape(*shape, 3), brightness, rng),
            world.class_of[hits.instance].reshape(shape),
            hits.instance.reshape(shape),
            hits.distance.reshape(shape),
        )

    def _picture(
        self, light: NDArray[np.float32], brightness: float, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Apply lens blur, vignetting, brightness, noise and gamma to (H, W, 3) linear RGB.

        Returns:
            (H, W, 3) uint8 BGR.
        """
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), 0.55), np.float32)
        gain = self._vignette * np.float32(brightness)
        picture = np.empty(light.shape, np.uint8)
        _digitise(light, gain, rng.integers(2**64, dtype=np.uint64), _GAMMA, picture)
        return picture

    def _look(self) -> NDArray[np.float32]:
        """Return the unit direction of each pixel's ray in the optical frame, (H * W, 3)."""
        u, v = np.meshgrid(np.arange(self.width, dtype=float), np.arange(self.height, dtype=float))
        x = (u - self.K[0, 2]) / self.K[0, 0]
        y = (v - self.K[1, 2]) / self.K[1, 1]
        if self.distortion_model == 'equidistant':
            direction = _undistort_fisheye(x, y, self.D)
        else:
            x, y = _undistort(x, y, self.D)
            direction = np.stack([x, y, np.ones_like(x)], axis=-1)
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        return direction.reshape(-1, 3).astype(np.float32)


_GAMMA = np.round(255.0 * (np.arange(4096) / 4095.0) ** (1 / 2.2)).astype(np.uint8)


@njit(cache=True, nogil=True)
def _digitise(light, gain, seed, gamma, picture):
    """Apply gain, noise and gamma to (H, W, 3) linear RGB; write (H, W, 3) BGR to `picture`."""
    height, width = gain.shape
    for row in range(height):
        for column in range(width):
            bits = _random_bits(seed + np.uint64(row * width + column))
            for k in range(3):
                value = light[row, column, k] * gain[row, column]
                spread = _READ_NOISE + _SHOT_NOISE * np.sqrt(max(value, np.float32(0)))
                value += spread * _deviate(bits >> np.uint64(21 * k))
                value = min(max(value, np.float32(0)), np.float32(1))
                picture[row, column, 2 - k] = gamma[
                    int(value * np.float32(4095) + np.float32(0.5))
                ]


@njit(cache=True, nogil=True)
def _random_bits(number):
    """Return 64 pseudo-random bits determined by `number` (SplitMix64, Steele et al. 2014)."""
    z = number * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _deviate(bits):
    """Return an approximately standard normal deviate: the scaled sum of three uniform ones.

    Takes them from the lowest 21 bits.
    """
    low = np.uint64(127)
    total = (bits & low) + (bits >> np.uint64(7) & low) + (bits >> np.uint64(14) & low)
    return (np.float32(total) - np.float32(190.5)) / np.float32(64)


def _mount(yaw: float) -> NDArray[np.float64]:
    """Return T_base_camera, (4, 4), of an optical frame (z forward, x right) that faces `yaw`."""
    c, s = np.cos(yaw), np.sin(yaw)
    pitch = np.radians(_PITCH_DEG)
    forward = np.array([c * np.cos(pitch), s * np.cos(pitch), -np.sin(pitch)])
    right = np.array([s, -c, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    # The mounts lie on an ellipse around the roof.
    pose[:3, 3] = [0.35 + _MOUNT_RADIUS * c, 0.9 * s, _MOUNT_HEIGHT]
    return pose


def _undistort(
    x: NDArray[np.float64], y: NDArray[np.float64], D: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Invert the plumb_bob model by fixed-point iteration, as OpenCV does.

    Args:
        x, y: distorted coordinates in the image plane at distance 1.
        D: k1, k2, p1, p2, k3.

    Returns:
        Undistorted x and y, of the same shape.

    Raises:
        CalibrationError: if the iteration does not converge for all pixels.
    """
    k1, k2, p1, p2, k3 = D
    ux, uy = x.copy(), y.copy()
    for _ in range(100):
        r2 = ux * ux + uy * uy
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        dx = 2 * p1 * ux * uy + p2 * (r2 + 2 * ux * ux)
        dy = p1 * (r2 + 2 * uy * uy) + 2 * p2 * ux * uy
        nx, ny = (x - dx) / radial, (y - dy) / radial
        step = max(np.abs(nx - ux).max(), np.abs(ny - uy).max())
        ux, uy = nx, ny
        if step < 1e-9:
            return ux, uy
    raise CalibrationError(
        'the distorted lens has no inverse over the whole image; choose a smaller field of view'
    )


def _undistort_fisheye(
    x: NDArray[np.float64], y: NDArray[np.float64], D: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the unit directions of pixels of the equidistant model (Kannala & Brandt 2006).

    Inverts the polynomial of the angle by Newton's method.

    Args:
        x, y: distorted coordinates in the image plane at distance 1.
        D: k1, k2, k3, k4.

    Returns:
        Directions in the optical frame, with a last axis of length 3.
    """
    bent = np.hypot(x, y)
    theta = bent.copy()
    k1, k2, k3, k4 = D
    for _ in range(10):
        t2 = theta * theta
        value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - bent
        slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
        theta = theta - value / slope
    scale = np.where(bent > 0, np.sin(theta) / np.maximum(bent, 1e-12), 1.0)
    return np.stack([x * scale, y * scale, np.cos(theta)], axis=-1)
