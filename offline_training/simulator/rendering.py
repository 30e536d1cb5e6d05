"""From hits to light: sun, shadow, sky, reflections, haze, and what a camera makes of them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator.bodies import Hits
from offline_training.simulator.materials import MaterialTable
from offline_training.simulator.textures import has_uneven_infrared, surface, value_noise

# Light may be rounded as is quickest; infinities (the sky's distance) must be kept.
_FAST = {'contract', 'reassoc', 'arcp', 'nsz', 'afn'}
_HAZE_M = 900.0
_SUN_LIGHT = np.array([1.55, 1.42, 1.22])
_SKY_LIGHT = np.array([0.36, 0.43, 0.55])
_GROUND_LIGHT = np.array([0.13, 0.12, 0.11])


class Look:
    """The weather of a drive: sun, clouds, and how clear the air is."""

    def __init__(self, sun: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.sun = sun
        self.cloudiness = float(rng.uniform(0.35, 0.65))
        # Direct sunlight from veiled to clear; the sky's share makes up for part of it.
        self.sunlight = float(rng.uniform(0.6, 1.0))


def radiance(
    rays: NDArray[np.float32],
    hits: Hits,
    lit: NDArray[np.bool_],
    materials: MaterialTable,
    look: Look,
    pixel_angle: float,
) -> NDArray[np.float32]:
    """Return the light that comes back along each ray.

    Args:
        rays: (N, 6) origins and unit directions in the world.
        hits: what they met.
        lit: (N,) whether the sun shines there.
        materials: of the surfaces.
        look: the weather.
        pixel_angle: angle between neighbouring rays, radians.

    Returns:
        (N, 3) float32 linear red, green, blue; white paper in the sun is about 1.
    """
    out = np.empty((len(rays), 3), np.float32)
    _radiance(
        rays, hits.distance, hits.material, hits.uv, hits.normal, lit,
        materials.pattern, materials.colours, materials.size, materials.infrared,
        materials.gloss, look.sun, look.cloudiness, look.sunlight, pixel_angle, out,
    )  # fmt: skip
    return out


def reflectance(
    rays: NDArray[np.float32], hits: Hits, materials: MaterialTable
) -> NDArray[np.float32]:
    """Return each hit's reflectance at the LiDAR's wavelength, (N,) float32, 0 where none."""
    out = np.zeros(len(rays), np.float32)
    _reflectance(
        rays, hits.distance, hits.material, hits.uv, materials.pattern, materials.colours,
        materials.size, materials.infrared, materials.gloss, out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _sky(dx, dy, dz, sun, cloudiness, clouds, out):
    """Write the light of the sky in a direction."""
    up = max(dz, 0.0)
    height = np.sqrt(up)
    out[0] = 0.62 - 0.44 * height
    out[1] = 0.72 - 0.38 * height
    out[2] = 0.86 - 0.22 * height
    if clouds and dz > 0.02:
        x, y = dx / (dz + 0.12) * 1.1, dy / (dz + 0.12) * 1.1
        cover = 0.5 * value_noise(x, y) + 0.28 * value_noise(2.1 * x + 7, 2.1 * y)
        cover += 0.15 * value_noise(4.3 * x, 4.3 * y + 3) + 0.07 * value_noise(9 * x, 9 * y)
        thick = min(max((cover - (1.0 - cloudiness)) / 0.16, 0.0), 1.0) * min(dz / 0.08, 1.0)
        bright = 0.95 - 0.25 * min(max((cover - 0.6) / 0.3, 0.0), 1.0)
        for k in range(3):
            out[k] = (1 - 0.85 * thick) * out[k] + 0.85 * thick * bright
    towards = dx * sun[0] + dy * sun[1] + dz * sun[2]
    if towards > 0.0:
        glow = 0.35 * towards**24 + (6.0 if towards > 0.9996 else 0.0)
        out[0] += glow
        out[1] += 0.92 * glow
        out[2] += 0.75 * glow


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _radiance(
    rays, distance, material, uv, normal, lit, patterns, colours, sizes, infrareds, glosses,
    sun, cloudiness, sunlight, pixel_angle, out,
):  # fmt: skip
    found = np.empty(5)
    sky = np.empty(3)
    for i in range(len(rays)):
        dx, dy, dz = rays[i, 3], rays[i, 4], rays[i, 5]
        if distance[i] == np.inf:
            _sky(dx, dy, dz, sun, cloudiness, True, sky)
            for k in range(3):
                out[i, k] = sky[k]
            continue
        t = distance[i]
        px, py, pz = rays[i, 0] + t * dx, rays[i, 1] + t * dy, rays[i, 2] + t * dz
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        slant = max(-(nx * dx + ny * dy + nz * dz), 0.02)
        # A pixel on a slanted surface is longer than wide; the geometric mean serves both ways.
        blur = t * pixel_angle / np.sqrt(slant)
        surface(
            material[i], patterns, colours, sizes, infrareds, glosses, uv[i, 0], uv[i, 1],
            px, py, pz, blur, found,
        )  # fmt: skip
        cosine = nx * sun[0] + ny * sun[1] + nz * sun[2]
        direct = sunlight * cosine if lit[i] and cosine > 0.0 else 0.0
        open_sky = 0.5 + 0.5 * nz
        ambient = 1.35 - 0.35 * sunlight
        gloss = found[4]
        mirrored = 0.0
        if gloss > 0.0:
            fresnel = gloss + (1.0 - gloss) * (1.0 - slant) ** 5
            rx, ry, rz = dx + 2 * slant * nx, dy + 2 * slant * ny, dz + 2 * slant * nz
            if rz > 0.0:
                _sky(rx, ry, rz, sun, cloudiness, False, sky)
            else:
                sky[0], sky[1], sky[2] = 0.16, 0.15, 0.14
            towards = rx * sun[0] + ry * sun[1] + rz * sun[2]
            if lit[i] and towards > 0.0:
                mirrored = 2.5 * towards**60
        haze = 1.0 - np.exp(-t / _HAZE_M)
        for k in range(3):
            light = _SUN_LIGHT[k] * direct + ambient * (
                _SKY_LIGHT[k] * open_sky + _GROUND_LIGHT[k] * (1.0 - open_sky)
            )
            value = found[k] * light
            if gloss > 0.0:
                value = (1.0 - fresnel) * value + fresnel * (0.8 * sky[k] + mirrored)
            air = 0.60 + 0.09 * k
            out[i, k] = (1.0 - haze) * value + haze * air


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _reflectance(rays, distance, material, uv, patterns, colours, sizes, infrareds, glosses, out):
    found = np.empty(5)
    for i in range(len(rays)):
        t = distance[i]
        if t == np.inf:
            continue
        m = material[i]
        if not has_uneven_infrared(patterns[m]):
            out[i] = infrareds[m]
            continue
        surface(
            m, patterns, colours, sizes, infrareds, glosses, uv[i, 0], uv[i, 1],
            rays[i, 0] + t * rays[i, 3], rays[i, 1] + t * rays[i, 4], rays[i, 2] + t * rays[i, 5],
            0.05, found,
        )  # fmt: skip
        out[i] = found[3]
