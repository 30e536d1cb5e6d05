"""Cars, vans, trucks and buses: lofted bodies with windows, wheels, lamps and mirrors."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.materials import Colour, Palette, Pattern, grey, varied
from offline_training.simulator.meshes import Box, Mesh, Solid, Tube, merge, patch, quads

_PAINTS: tuple[Colour, ...] = (
    (0.70, 0.70, 0.68),
    (0.45, 0.46, 0.47),
    (0.14, 0.14, 0.15),
    (0.015, 0.015, 0.017),
    (0.35, 0.02, 0.02),
    (0.02, 0.06, 0.28),
    (0.05, 0.12, 0.08),
    (0.45, 0.36, 0.22),
    (0.60, 0.40, 0.03),
    (0.06, 0.16, 0.26),
)
# Probability of each paint; white, greys and black are the most frequent.
_PAINT_SHARE = (0.24, 0.17, 0.16, 0.14, 0.07, 0.07, 0.03, 0.05, 0.03, 0.04)


@dataclasses.dataclass(frozen=True)
class Vehicle:
    """A vehicle centred on the origin, facing x, standing on z = 0.

    Attributes:
        class_name: one of `CLASSES`.
        solids: that it consists of.
        length: metres.
    """

    class_name: str
    solids: list[Solid]
    length: float

    @property
    def mesh(self) -> Mesh:
        """The whole vehicle as one mesh."""
        return merge(self.solids)


# Length, width and height in metres, and the side profile: stations from rear to front, each with
# its position as a fraction of the length and the heights of belt line and roof line in metres.
# There is a cabin where these differ by more than 0.2.
_PROFILES = {
    'sedan': (
        (4.6, 1.82, 1.45),
        ((0.0, 0.70, 0.78), (0.02, 0.92, 0.97), (0.17, 0.96, 1.02), (0.30, 0.95, 1.40),
         (0.45, 0.94, 1.45), (0.58, 0.93, 1.40), (0.73, 0.92, 0.97), (0.95, 0.76, 0.80),
         (1.0, 0.52, 0.55)),
    ),
    'hatchback': (
        (4.0, 1.76, 1.50),
        ((0.0, 0.75, 0.80), (0.02, 0.95, 1.05), (0.10, 0.98, 1.40), (0.30, 0.97, 1.50),
         (0.52, 0.95, 1.45), (0.70, 0.93, 0.98), (0.94, 0.80, 0.84), (1.0, 0.52, 0.56)),
    ),
    'suv': (
        (4.7, 1.92, 1.75),
        ((0.0, 0.90, 0.95), (0.02, 1.10, 1.18), (0.08, 1.13, 1.66), (0.30, 1.12, 1.75),
         (0.55, 1.10, 1.70), (0.70, 1.08, 1.12), (0.95, 0.98, 1.02), (1.0, 0.65, 0.70)),
    ),
    'van': (
        (5.4, 2.0, 2.4),
        ((0.0, 1.0, 1.06), (0.005, 1.25, 2.30), (0.08, 1.28, 2.40), (0.55, 1.28, 2.40),
         (0.72, 1.25, 2.25), (0.87, 1.15, 1.20), (0.98, 0.95, 1.0), (1.0, 0.6, 0.65)),
    ),
}  # fmt: skip


_MIRRORS = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])  # factors for left and right half


def make_vehicle(kind: str, palette: Palette, rng: np.random.Generator) -> Vehicle:
    """Build a vehicle of a kind in `VEHICLE_KINDS`, randomly painted and (but for buses) sized."""
    if kind == 'truck':
        return _truck(palette, rng)
    if kind == 'bus':
        return _bus(palette, rng)
    (length, width, _), profile = _PROFILES[kind]
    stretch = float(rng.uniform(0.94, 1.06))
    length *= stretch
    paint = _paint(palette, rng)
    solids: list[Solid] = [
        *_body(np.array(profile), length, width, paint, palette, windows=kind != 'van'),
        *_wheels(length, width, 0.33 if kind != 'suv' else 0.37, palette),
        *_details(length, width, profile[0][1], palette),
    ]
    return Vehicle('car', solids, length)


VEHICLE_KINDS = (*_PROFILES, 'truck', 'bus')


def _body(
    profile: NDArray[np.float64],
    length: float,
    width: float,
    paint: int,
    palette: Palette,
    windows: bool,
) -> list[Mesh]:
    """Loft a body through the (stations, 3) rows of a profile, see `_PROFILES`."""
    glass = _glass(palette)
    trim = palette(Pattern.PLAIN, grey(0.02), infrared=0.08)
    x = (profile[:, 0] - 0.5) * length
    belt, roof = profile[:, 1], profile[:, 2]
    cabin = roof - belt > 0.2
    half = np.full(len(x), width / 2)
    half[[0, -1]] *= 0.90
    top_half = np.where(cabin, half - 0.24 * (roof - belt) - 0.02, half * 0.93)
    # The left half of the cross-section at each station, from sill to roof.
    half_shell = np.empty((len(x), 6, 3))
    half_shell[..., 0] = x[:, None]
    half_shell[..., 1].T[:] = (
        half * 0.86, half * 0.98, half, half * 0.96, top_half, top_half * 0.0,
    )  # fmt: skip
    half_shell[:, :2, 2] = 0.22, 0.34
    half_shell[:, 2:, 2].T[:] = np.minimum(0.62, belt - 0.05), belt, roof, roof + 0.03
    material = np.full((len(x) - 1, 5), paint)
    material[:, 0] = trim
    pair = cabin[:-1] & cabin[1:]
    rises = cabin[:-1] ^ cabin[1:]
    if windows:
        material[pair, 3] = glass
    else:
        material[pair & (x[:-1] > length * 0.2), 3] = glass
    material[rises, 3] = glass
    material[rises & (windows | (x[:-1] > 0)), 4] = glass
    parts = []
    for mirror in _MIRRORS:
        shell = half_shell * mirror
        parts.append(patch(shell, material.ravel(), shell[..., [0, 2]]))
        edges = shell[[0, -1]]
        inner = edges * (1.0, 0.0, 1.0)
        caps = np.stack([edges[:, :-1], edges[:, 1:], inner[:, 1:], inner[:, :-1]], axis=2)
        parts.append(quads(caps, None, 2 * [trim, trim, paint, paint, paint]))
    # Pillars split the side windows.
    ends = half_shell[np.flatnonzero(pair)[1:], 3:5]
    bars = (ends[:, None] * _MIRRORS[:, None])[:, :, [0, 0, 1, 1]]
    bars[..., 0] += (-0.05, 0.05, 0.05, -0.05)
    bars[..., 1] += 0.012 * _MIRRORS[:, 1:2]
    parts.append(quads(bars, None, paint))
    return parts


def _wheels(
    length: float, width: float, radius: float, palette: Palette, axles: tuple[float, ...] = ()
) -> list[Solid]:
    tyre = palette(Pattern.PLAIN, grey(0.018), infrared=0.06)
    rim = palette(Pattern.PLAIN, grey(0.42), infrared=0.4, gloss=0.1)
    arch = palette(Pattern.PLAIN, grey(0.008), infrared=0.04)
    parts: list[Solid] = []
    for x in axles or (-0.29 * length, 0.31 * length):
        for side in (-1.0, 1.0):
            y = side * width / 2
            parts += [
                Tube((x, y - 0.2 * side, radius), (x, y + 0.008 * side, radius + 0.02),
                     (radius * 1.16, radius * 1.16), arch, 16),
                Tube((x, y - 0.2 * side, radius), (x, y + 0.02 * side, radius),
                     (radius, radius), tyre, 16),
                Tube((x, y, radius), (x, y + 0.03 * side, radius),
                     (radius * 0.62, radius * 0.55), rim, 10),
            ]  # fmt: skip
    return parts


def _details(length: float, width: float, lamp_height: float, palette: Palette) -> list[Solid]:
    red = palette(Pattern.PLAIN, (0.45, 0.01, 0.01), infrared=1.3, gloss=0.1)
    white = palette(Pattern.PLAIN, grey(0.75), infrared=0.6, gloss=0.2)
    black = palette(Pattern.PLAIN, grey(0.015), infrared=0.07)
    plate = palette(Pattern.PLAIN, (0.75, 0.74, 0.65), infrared=2.0)
    back, front, side = -length / 2, length / 2, width / 2
    parts: list[Solid] = []
    for sign in (-1, 1):
        parts += [
            Box((0.10, 0.34, 0.16), (back + 0.02, sign * (side - 0.28), lamp_height - 0.12), red),
            Box((0.14, 0.36, 0.13), (front - 0.08, sign * (side - 0.30), 0.58), white),
            Box((0.14, 0.20, 0.13), (0.18 * length, sign * (side + 0.06), 0.97), black),
        ]
    for x in (back - 0.005, front + 0.005):
        parts.append(Box((0.03, 0.5, 0.12), (x, 0.0, 0.46), plate))
        parts.append(Box((0.06, width * 0.78, 0.14), (x, 0.0, 0.27), black))
    parts.append(Box((0.04, width * 0.45, 0.1), (front + 0.003, 0.0, 0.62), black))
    return parts


def _truck(palette: Palette, rng: np.random.Generator) -> Vehicle:
    length, width, height = float(rng.uniform(6.5, 8.5)), 2.4, float(rng.uniform(2.9, 3.4))
    paint = _paint(palette, rng)
    glass = _glass(palette)
    dark = palette(Pattern.PLAIN, grey(0.03), infrared=0.1)
    cargo_colour = varied(rng, _PAINTS[rng.integers(len(_PAINTS))], 0.3)
    cargo = (
        palette(Pattern.TWO_TONE, cargo_colour, grey(0.68), (0.9, 1.0), 0.5)
        if rng.random() < 0.5
        else palette(Pattern.PLAIN, grey(0.68), infrared=0.5)
    )
    front = length / 2
    parts: list[Solid] = [
        Box((length - 2.1, width, height - 1.0), (-1.05, 0, 1.0), cargo),
        Box((length - 0.6, 1.1, 0.45), (-0.3, 0, 0.55), dark),
        Box((1.8, width - 0.1, 1.0), (front - 0.9, 0, 0.5), paint),
        Box((1.6, width - 0.14, 1.15), (front - 1.0, 0, 1.5), paint),
        Box((0.06, width - 0.4, 0.8), (front - 0.19, 0, 1.6), glass),
        Box((0.8, width - 0.1, 0.6), (front - 0.75, 0, 1.65), glass),
    ]
    parts += _wheels(length, width, 0.48, palette, (-0.33 * length, front - 1.1))
    parts += _details(length, width, 0.95, palette)
    return Vehicle('truck_bus', parts, length)


def _bus(palette: Palette, rng: np.random.Generator) -> Vehicle:
    length, width, height = 11.5, 2.5, 3.0
    colour = varied(rng, _PAINTS[rng.choice([4, 5, 6, 8, 9])])
    skin = palette(Pattern.TWO_TONE, colour, grey(0.65), (0.75, 1.0), 0.45, 0.05)
    glass = _glass(palette)
    half = length / 2
    parts: list[Solid] = [
        Box((length, width, height - 0.3), (0, 0, 0.3), skin),
        Box((0.06, width - 0.3, 1.3), (half, 0, 1.2), glass),
        Box((0.06, width - 0.5, 0.8), (-half, 0, 1.6), glass),
        Box((2.2, width - 0.6, 0.2), (-1.5, 0, height), skin),
    ]
    for x in np.arange(-half + 0.3, half - 1.3, 1.45):
        parts.append(Box((1.3, width + 0.04, 0.95), (float(x) + 0.65, 0, 1.45), glass))
    parts += _wheels(length, width, 0.5, palette, (-half + 3.2, half - 2.6))
    parts += _details(length, width, 1.0, palette)
    return Vehicle('truck_bus', parts, length)


def _paint(palette: Palette, rng: np.random.Generator) -> int:
    colour = varied(rng, _PAINTS[rng.choice(len(_PAINTS), p=_PAINT_SHARE)], 0.1)
    infrared = 0.12 + 0.55 * float(np.mean(colour))
    return palette(Pattern.PLAIN, colour, infrared=infrared, gloss=0.16)


def _glass(palette: Palette) -> int:
    return palette(Pattern.PLAIN, grey(0.012), infrared=0.03, gloss=0.22)
