"""Shades ray hits: sunlight, shadow, sky, reflections, haze; and their infrared reflectance."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator.bodies import Hits
from offline_training.simulator.materials import MaterialTable, Pattern
from offline_training.simulator.textures import infrared_at, surfaces, value_noise

# All fast-math flags but `nnan` and `ninf`, because the distance of the sky is infinite.
_FAST = {'contract', 'reassoc', 'arcp', 'nsz', 'afn'}
_HAZE_M = 900.0  # distance at which haze leaves 1/e of the light
_SIGN, _SKY = int(Pattern.SIGN), len(Pattern)
_BATCH = 1024  # pixels of one pattern that are shaded together
_SUN_LIGHT = (1.55, 1.42, 1.22)
_SKY_LIGHT = (0.36, 0.43, 0.55)
_GROUND_LIGHT = (0.13, 0.12, 0.11)
_HAZE_LIGHT = (0.60, 0.69, 0.78)


class Look:
    """The weather of a drive.

    Attributes:
        sun: (3,) unit vector towards the sun, in the world.
        cloudiness: 0 to 1; higher is more cloud.
        sunlight: strength of direct sunlight, 0 to 1.
    """

    def __init__(self, sun: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.sun = sun
        self.cloudiness = float(rng.uniform(0.35, 0.65))
        # From veiled to clear; weaker sunlight comes with more ambient light.
        self.sunlight = float(rng.uniform(0.6, 1.0))


def radiance(
    rays: NDArray[np.float32],
    hits: Hits,
    lit: NDArray[np.bool_],
    materials: MaterialTable,
    look: Look,
    pixel_angle: float,
) -> NDArray[np.float32]:
    """Return the radiance along each ray.

    Args:
        rays: (N, 6) float32 origins and unit directions in the world.
        hits: of the rays.
        lit: (N,) whether the hit is in direct sunlight.
        materials: of the surfaces.
        look: the weather.
        pixel_angle: angle between neighbouring rays, radians.

    Returns:
        (N, 3) float32 linear red, green, blue; a white surface in sunlight is about 1.
    """
    out = np.empty((len(rays), 3), np.float32)
    _radiance(
        rays, hits.distance, hits.material, hits.uv, hits.normal, lit, materials.pattern,
        materials.colours, materials.size, materials.gloss, look.sun, look.cloudiness,
        look.sunlight, pixel_angle, out,
    )  # fmt: skip
    return out


def reflectance(
    rays: NDArray[np.float32], hits: Hits, materials: MaterialTable
) -> NDArray[np.float32]:
    """Return reflectance at the LiDAR's wavelength, (N,) float32; 0 without a hit."""
    out = np.zeros(len(rays), np.float32)
    _reflectance(
        rays, hits.distance, hits.material, hits.uv, materials.pattern, materials.size,
        materials.infrared, out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _cloud_cover(dx, dy, dz):
    """Return the cloud density (value noise, 0 to 1) in a direction above the horizon."""
    scale = 1.1 / (dz + 0.12)
    x, y = scale * dx, scale * dy
    cover = 0.5 * value_noise(x, y) + 0.28 * value_noise(2.1 * x + 7, 2.1 * y)
    return cover + 0.15 * value_noise(4.3 * x, 4.3 * y + 3) + 0.07 * value_noise(9 * x, 9 * y)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _sky(dx, dy, dz, sun, cloud, bright):
    """Return red, green and blue radiance of the sky in a unit direction.

    Args:
        dx, dy, dz: the direction in the world, z up.
        sun: unit vector towards the sun.
        cloud: fraction covered by cloud, 0 to 1.
        bright: radiance of the cloud.
    """
    clear, height = 1.0 - cloud, np.sqrt(max(dz, 0.0))
    towards = max(dx * sun[0] + dy * sun[1] + dz * sun[2], 0.0)
    glow = 0.35 * towards**24 + (6.0 if towards > 0.9996 else 0.0)
    red = clear * (0.62 - 0.44 * height) + cloud * bright + glow
    green = clear * (0.72 - 0.38 * height) + cloud * bright + 0.92 * glow
    blue = clear * (0.86 - 0.22 * height) + cloud * bright + 0.75 * glow
    return red, green, blue


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _light_sky(chosen, rays, sun, cloudiness, out):
    """Write the radiance of the rays `chosen`, which hit nothing, to `out`."""
    n = len(chosen)
    dx, dy, dz = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    cover = np.empty(n, np.float32)
    for j in range(n):
        i = chosen[j]
        dx[j], dy[j], dz[j] = rays[i, 3], rays[i, 4], max(rays[i, 5], np.float32(0))
    for j in range(n):
        cover[j] = _cloud_cover(dx[j], dy[j], dz[j])
    for j in range(n):
        i = chosen[j]
        thick = min(max((cover[j] - (1.0 - cloudiness)) / 0.16, 0.0), 1.0)
        low = min(dz[j] / 0.08, 1.0) if dz[j] > 0.02 else 0.0
        bright = 0.95 - 0.25 * min(max((cover[j] - 0.6) / 0.3, 0.0), 1.0)
        out[i, 0], out[i, 1], out[i, 2] = _sky(
            dx[j], dy[j], dz[j], sun, 0.85 * thick * low, bright
        )


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _light_surfaces(
    chosen, pattern, rays, distance, material, uv, normal, lit, colours, sizes, glosses,
    sun, sunlight, pixel_angle, out,
):  # fmt: skip
    """Write the radiance of the rays `chosen`, whose surfaces share a pattern, to `out`."""
    n = len(chosen)
    size, second_size = np.empty(n, np.float32), np.empty(n, np.float32)
    u, v = np.empty(n, np.float32), np.empty(n, np.float32)
    px, py, pz = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    slant, far, blur = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for j in range(n):
        i = chosen[j]
        t = distance[i]
        dx, dy, dz = rays[i, 3], rays[i, 4], rays[i, 5]
        size[j], second_size[j] = sizes[material[i], 0], sizes[material[i], 1]
        u[j], v[j] = uv[i, 0], uv[i, 1]
        px[j], py[j], pz[j] = rays[i, 0] + t * dx, rays[i, 1] + t * dy, rays[i, 2] + t * dz
        slant[j] = max(-(normal[i, 0] * dx + normal[i, 1] * dy + normal[i, 2] * dz), 0.02)
        far[j] = t
    for j in range(n):
        # A pixel's footprint on a slanted surface is elongated: take its axes' geometric mean.
        blur[j] = far[j] * pixel_angle / np.sqrt(slant[j])
    shade, mix, grey = surfaces(pattern, size, second_size, u, v, px, py, pz, blur)
    ambient = 1.35 - 0.35 * sunlight
    for j in range(n):
        i = chosen[j]
        m = material[i]
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        cosine = nx * sun[0] + ny * sun[1] + nz * sun[2]
        direct = sunlight * cosine if lit[i] and cosine > 0.0 else 0.0
        above = ambient * (0.5 + 0.5 * nz)
        below = ambient - above
        red = _SUN_LIGHT[0] * direct + _SKY_LIGHT[0] * above + _GROUND_LIGHT[0] * below
        green = _SUN_LIGHT[1] * direct + _SKY_LIGHT[1] * above + _GROUND_LIGHT[1] * below
        blue = _SUN_LIGHT[2] * direct + _SKY_LIGHT[2] * above + _GROUND_LIGHT[2] * below
        gloss = glosses[m]
        if grey[j] > 0.0:
            glass = pattern != _SIGN
            gloss = 0.35 if glass else gloss
            red *= grey[j]
            green *= grey[j] * (1.05 if glass else 1.0)
            blue *= grey[j] * (1.12 if glass else 1.0)
        else:
            first, second = shade[j] * (1.0 - mix[j]), shade[j] * mix[j]
            red *= first * colours[m, 0] + second * colours[m, 3]
            green *= first * colours[m, 1] + second * colours[m, 4]
            blue *= first * colours[m, 2] + second * colours[m, 5]
        if gloss > 0.0:
            fresnel = gloss + (1.0 - gloss) * (1.0 - slant[j]) ** 5
            rx = rays[i, 3] + 2 * slant[j] * nx
            ry = rays[i, 4] + 2 * slant[j] * ny
            rz = rays[i, 5] + 2 * slant[j] * nz
            mirrored = (0.16, 0.15, 0.14)
            if rz > 0.0:
                mirrored = _sky(rx, ry, rz, sun, 0.0, 0.0)
            towards = rx * sun[0] + ry * sun[1] + rz * sun[2]
            glint = 2.5 * towards**60 if lit[i] and towards > 0.0 else 0.0
            red = (1.0 - fresnel) * red + fresnel * (0.8 * mirrored[0] + glint)
            green = (1.0 - fresnel) * green + fresnel * (0.8 * mirrored[1] + glint)
            blue = (1.0 - fresnel) * blue + fresnel * (0.8 * mirrored[2] + glint)
        # The transmittance approximates exp(-distance / _HAZE_M).
        depth = far[j] / (16.0 * _HAZE_M)
        haze = 1.0 - (1.0 - depth + 0.5 * depth * depth) ** 16
        out[i, 0] = red + haze * (_HAZE_LIGHT[0] - red)
        out[i, 1] = green + haze * (_HAZE_LIGHT[1] - green)
        out[i, 2] = blue + haze * (_HAZE_LIGHT[2] - blue)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _radiance(
    rays, distance, material, uv, normal, lit, patterns, colours, sizes, glosses,
    sun, cloudiness, sunlight, pixel_angle, out,
):  # fmt: skip
    # Pixels are collected by pattern (or as sky) and shaded in batches, so that loops vectorise.
    sun = (sun[0], sun[1], sun[2])
    waiting = np.empty((_SKY + 1, _BATCH), np.int64)
    count = np.zeros(_SKY + 1, np.int64)
    n = len(rays)
    for i in range(n + _SKY + 1):
        if i < n:
            kind = _SKY if distance[i] == np.inf else patterns[material[i]]
            waiting[kind, count[kind]] = i
            count[kind] += 1
            if count[kind] < _BATCH:
                continue
        else:
            kind = i - n
        chosen = waiting[kind, : count[kind]]
        if kind == _SKY:
            _light_sky(chosen, rays, sun, cloudiness, out)
        else:
            _light_surfaces(
                chosen, kind, rays, distance, material, uv, normal, lit, colours, sizes, glosses,
                sun, sunlight, pixel_angle, out,
            )  # fmt: skip
        count[kind] = 0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _reflectance(rays, distance, material, uv, patterns, sizes, infrareds, out):
    for i in range(len(rays)):
        t = distance[i]
        if t == np.inf:
            continue
        m = material[i]
        out[i] = infrared_at(
            patterns[m], sizes[m, 0], sizes[m, 1], infrareds[m],
            np.float64(uv[i, 0]), np.float64(uv[i, 1]),
            rays[i, 0] + t * rays[i, 3], rays[i, 1] + t * rays[i, 4],
        )  # fmt: skip
