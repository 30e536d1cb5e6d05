"""The classes of the simulated world, and the materials of its surfaces."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    'road',
    'sidewalk',
    'ground',
    'vegetation',
    'building',
    'car',
    'truck_bus',
    'person',
    'two_wheeler',
    'sign',
    'pole',
    'fence',
    'other_static',
    'sky',
)
SKY = CLASSES.index('sky')

Colour = tuple[float, float, float]


class Pattern(enum.IntEnum):
    """How a material's two colours a and b are arranged on its surface; lengths in metres."""

    PLAIN = 0  # colour a, slightly uneven
    ASPHALT = 1  # a with patches of b
    ROAD = 2  # asphalt a with markings b; size: half width, parking lane's width
    SLABS = 3  # each slab a mixture of a and b; size: slab length and width
    GRASS = 4  # a with tufts of b
    LEAVES = 5  # a and b mixed at the scale of leaves
    FACADE = 6  # plaster a with windows framed in b; size: window pitch, floor height
    BRICK_FACADE = 7  # brick a with windows framed in b
    BRICK = 8  # a in mortar b
    PLANKS = 9  # a with gaps b; size: plank width
    TILES = 10  # each tile a mixture of a and b; size: row height, tile width
    TWO_TONE = 11  # a below, b above; size: height of the change
    SIGN = 12  # a traffic sign; size: radius, kind of sign (see `traffic_sign`)
    STRIPES = 13  # diagonal stripes of a and b; size: stripe width


class Material(NamedTuple):
    """Optical properties of a surface for camera and LiDAR.

    Attributes:
        pattern: arrangement of the colours.
        a, b: linear RGB reflectance, 0 to 1.
        size: dimensions of the pattern, metres; see `Pattern`.
        infrared: reflectance at the LiDAR's wavelength; above 1 for retroreflectors.
        gloss: specular reflectance at normal incidence, 0 to 1.
    """

    pattern: Pattern
    a: Colour
    b: Colour = (0.0, 0.0, 0.0)
    size: tuple[float, float] = (1.0, 1.0)
    infrared: float = 0.3
    gloss: float = 0.0


@dataclasses.dataclass(frozen=True)
class MaterialTable:
    """All materials as arrays, one row per material index; see `Material`."""

    pattern: NDArray[np.int64]
    colours: NDArray[np.float64]  # (M, 6)
    size: NDArray[np.float64]  # (M, 2)
    infrared: NDArray[np.float64]
    gloss: NDArray[np.float64]


class Palette:
    """Assigns an index to each distinct material."""

    def __init__(self) -> None:
        self._numbers: dict[Material, int] = {}

    def __call__(
        self,
        pattern: Pattern,
        a: Colour,
        b: Colour = (0.0, 0.0, 0.0),
        size: tuple[float, float] = (1.0, 1.0),
        infrared: float = 0.3,
        gloss: float = 0.0,
    ) -> int:
        """Return the index of the material with these properties, see `Material`."""
        material = Material(pattern, a, b, size, infrared, gloss)
        return self._numbers.setdefault(material, len(self._numbers))

    def table(self) -> MaterialTable:
        """Return all materials requested so far."""
        materials = list(self._numbers)
        return MaterialTable(
            np.array([m.pattern for m in materials], np.int64),
            np.array([m.a + m.b for m in materials]),
            np.array([m.size for m in materials]),
            np.array([m.infrared for m in materials]),
            np.array([m.gloss for m in materials]),
        )


def grey(value: float, tint: float = 0.0) -> Colour:
    """Return a grey of reflectance `value`, redder for a positive tint, bluer for a negative."""
    return (value * (1 + tint), value, value * (1 - tint))


def varied(rng: np.random.Generator, colour: Colour, amount: float = 0.15) -> Colour:
    """Return a colour with brightness changed randomly by up to `amount`, and hue slightly."""
    light = rng.uniform(1 - amount, 1 + amount)
    hue = rng.uniform(1 - amount / 3, 1 + amount / 3, 3).tolist()
    r, g, b = (min(max(c * (light * h), 0.0), 1.0) for c, h in zip(colour, hue, strict=True))
    return (r, g, b)
