"""Buildings: facades with windows, roofs, cornices, doors, balconies, awnings."""

from __future__ import annotations

import numpy as np

from offline_training.simulator.materials import Colour, Palette, Pattern, grey, varied
from offline_training.simulator.meshes import Box, Mesh, Solid, Tube, prism_walls, quads

_PLASTER: tuple[Colour, ...] = (
    (0.55, 0.45, 0.32),
    (0.62, 0.58, 0.50),
    (0.50, 0.30, 0.22),
    (0.42, 0.45, 0.48),
    (0.66, 0.60, 0.42),
    (0.35, 0.42, 0.40),
    (0.70, 0.68, 0.64),
    (0.30, 0.30, 0.31),
)
_BRICK: tuple[Colour, ...] = ((0.30, 0.10, 0.06), (0.24, 0.13, 0.09), (0.38, 0.24, 0.15))
_ROOF: tuple[Colour, ...] = ((0.25, 0.08, 0.05), (0.09, 0.09, 0.10), (0.17, 0.10, 0.07))


def town_house(
    width: float, depth: float, floors: int, palette: Palette, rng: np.random.Generator
) -> list[Solid]:
    """Build a flat-roofed house with its front at y = 0, facing negative y (the street)."""
    floor = float(rng.uniform(2.9, 3.6))
    height = floors * floor
    facade = _facade(floor, palette, rng)
    trim = palette(Pattern.PLAIN, varied(rng, grey(0.5, 0.06), 0.3), infrared=0.4)
    roof = palette(Pattern.PLAIN, grey(0.12), infrared=0.15)
    parts: list[Solid] = [
        *_walls(width, depth, height, facade),
        Box((width + 0.5, depth + 0.5, 0.5), (0, depth / 2, height), trim, roof),
        Box((width + 0.06, depth + 0.06, 0.45), (0, depth / 2, -0.05), trim),
    ]
    if floors > 2:
        parts.append(Box((width + 0.2, 0.3, 0.25), (0, 0, floor), trim))
    parts += _door(float(rng.uniform(-0.3, 0.3)) * width, palette, rng)
    if rng.random() < 0.45:
        parts.append(_awning(width, palette, rng))
    if rng.random() < 0.4:
        parts += _balconies(width, floors, floor, palette, rng)
    if rng.random() < 0.5:
        parts.append(
            Tube(
                (width * 0.3, depth * 0.4, height),
                (width * 0.3, depth * 0.4, height + 1.8),
                (0.5, 0.5),
                trim,
            )
        )
    return parts


def gabled_house(
    width: float, depth: float, floors: int, palette: Palette, rng: np.random.Generator
) -> list[Solid]:
    """Build a house with a gable roof and its front at y = 0, facing negative y (the street)."""
    floor = float(rng.uniform(2.7, 3.0))
    height = floors * floor
    facade = _facade(floor, palette, rng)
    colour = varied(rng, _ROOF[rng.integers(len(_ROOF))])
    tiles = palette(Pattern.TILES, colour, varied(rng, colour, 0.3), (0.35, 0.25), 0.3)
    gable = palette(Pattern.PLAIN, varied(rng, grey(0.5, 0.1)), infrared=0.4)
    over, rise = 0.5, float(rng.uniform(0.5, 0.9)) * min(width, depth) / 2
    half, eaves = width / 2, height - 0.15
    along_front = rng.random() < 0.6
    if along_front:
        ridge = [(-half - over, depth / 2), (half + over, depth / 2)]
        low = [[(-half - over, -over), (half + over, -over)]]
        low.append([(-half - over, depth + over), (half + over, depth + over)])
        ends = [[(-half, 0), (-half, depth)], [(half, 0), (half, depth)]]
    else:
        ridge = [(0, -over), (0, depth + over)]
        low = [[(-half - over, -over), (-half - over, depth + over)]]
        low.append([(half + over, -over), (half + over, depth + over)])
        ends = [[(-half, 0), (half, 0)], [(-half, depth), (half, depth)]]
    top = height + rise
    parts = _walls(width, depth, height, facade)
    slope = float(np.hypot(rise, (depth if along_front else width) / 2 + over))
    length = float(np.linalg.norm(np.subtract(ridge[0], ridge[1])))
    uv = [[(0, 0), (length, 0), (length, slope), (0, slope)]]
    for a, b in low:
        corners = [(*a, eaves), (*b, eaves), (*ridge[1], top), (*ridge[0], top)]
        parts.append(quads([corners], uv, tiles))
    for a, b in ends:
        peak = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, top - 0.1)
        parts.append(quads([[(*a, height), (*b, height), peak, peak]], None, gable))
    brick = palette(Pattern.BRICK, _BRICK[0], grey(0.3), infrared=0.35)
    parts.append(Box((0.7, 0.7, rise + 1.2), (width / 4, depth / 2, height), brick))
    parts += _door(float(rng.uniform(-0.3, 0.3)) * width, palette, rng)
    return parts


def warehouse(
    width: float, depth: float, palette: Palette, rng: np.random.Generator
) -> list[Solid]:
    """Build a large hall in two colours, with gates in its front at y = 0."""
    height = float(rng.uniform(5.0, 8.0))
    below = varied(rng, _PLASTER[rng.integers(len(_PLASTER))])
    above = varied(rng, grey(0.45, -0.03))
    skin = palette(Pattern.TWO_TONE, below, above, (float(rng.uniform(1.2, 2.6)), 1.0), 0.4)
    gate = palette(Pattern.PLANKS, varied(rng, (0.1, 0.2, 0.35), 0.5), grey(0.05), (0.4, 1.0), 0.3)
    outline = _outline(width, depth)
    parts: list[Solid] = [
        prism_walls(outline, -2.0, 0.0, skin),
        prism_walls(outline, 0.0, height, skin),
    ]
    lid = np.column_stack([outline, np.full(4, height)])
    parts.append(quads([lid], None, palette(Pattern.PLAIN, grey(0.2), infrared=0.2)))
    for x in np.arange(-width / 2 + 4, width / 2 - 3, 7.0):
        parts.append(Box((3.2, 0.12, 3.6), (float(x), 0.0, 0.0), gate))
    return parts


def skyscraper(
    width: float, height: float, palette: Palette, rng: np.random.Generator
) -> list[Solid]:
    """Build a distant tower."""
    facade = _facade(3.5, palette, rng)
    return _walls(width, width, height, facade)


def _facade(floor: float, palette: Palette, rng: np.random.Generator) -> int:
    pitch = float(rng.uniform(1.9, 3.4))
    frame = varied(rng, grey(0.6)) if rng.random() < 0.7 else varied(rng, grey(0.08))
    if rng.random() < 0.4:
        brick = varied(rng, _BRICK[rng.integers(len(_BRICK))], 0.25)
        return palette(Pattern.BRICK_FACADE, brick, frame, (pitch, floor), 0.35)
    plaster = varied(rng, _PLASTER[rng.integers(len(_PLASTER))], 0.2)
    return palette(Pattern.FACADE, plaster, frame, (pitch, floor), 0.45)


def _outline(width: float, depth: float) -> np.ndarray:
    half = width / 2
    return np.array([(-half, 0.0), (half, 0.0), (half, depth), (-half, depth)])


def _walls(width: float, depth: float, height: float, material: int) -> list[Solid]:
    """Return walls that start 2 m below ground and a flat roof; v is the height above ground."""
    outline = _outline(width, depth)
    walls = prism_walls(outline, 0.0, height, material)
    # Shrink the footing's uv to the blank strip below the ground floor's windows.
    footing = prism_walls(outline, -2.0, 0.0, material)
    footing = Mesh(footing.vertices, footing.triangles, footing.uv * 0.01, footing.material)
    lid = quads([np.column_stack([outline, np.full(4, height)])], None, material)
    lid = Mesh(lid.vertices, lid.triangles, lid.uv * 0.0, lid.material)
    return [walls, footing, lid]


def _door(x: float, palette: Palette, rng: np.random.Generator) -> list[Solid]:
    wood = palette(Pattern.PLAIN, varied(rng, (0.16, 0.07, 0.05), 0.6), infrared=0.35)
    stone = palette(Pattern.PLAIN, grey(0.4, 0.05), infrared=0.35)
    return [
        Box((1.5, 0.16, 2.5), (x, 0.0, 0.0), stone),
        Box((1.1, 0.24, 2.25), (x, 0.0, 0.1), wood),
        Box((1.8, 1.1, 0.12), (x, -0.5, -0.02), stone),
    ]


def _awning(width: float, palette: Palette, rng: np.random.Generator) -> Mesh:
    cloth = palette(
        Pattern.STRIPES, varied(rng, (0.45, 0.05, 0.05), 0.9), grey(0.7), (0.5, 1.0), 0.5
    )
    half = width * 0.42
    corners = [[(-half, -0.02, 3.0), (half, -0.02, 3.0), (half, -1.2, 2.55), (-half, -1.2, 2.55)]]
    uv = [[(0, 0), (2 * half, 0), (2 * half, 1.3), (0, 1.3)]]
    return quads(corners, uv, cloth)


def _balconies(
    width: float, floors: int, floor: float, palette: Palette, rng: np.random.Generator
) -> list[Solid]:
    slab = palette(Pattern.PLAIN, grey(0.45), infrared=0.4)
    rail = palette(Pattern.PLANKS, varied(rng, grey(0.12), 0.5), grey(0.3), (0.12, 1.0), 0.3)
    parts: list[Solid] = []
    for level in range(1, floors):
        for x in (-width / 4, width / 4):
            parts.append(Box((2.4, 1.0, 0.15), (x, -0.5, level * floor + 0.1), slab))
            parts.append(Box((2.4, 0.06, 1.0), (x, -1.0, level * floor + 0.25), rail))
    return parts
