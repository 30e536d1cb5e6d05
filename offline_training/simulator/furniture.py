"""Street furniture: lamps, signs, traffic lights, fences, benches, bins, cones, shelters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from offline_training.simulator.materials import Palette, Pattern, grey, varied
from offline_training.simulator.meshes import Box, Solid, Tube, ball, quads

# (class name, solids) of each part: an object may have parts of two classes.
Parts = list[tuple[str, Sequence[Solid]]]


def street_lamp(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a street lamp at the origin with its arm towards negative y (the road)."""
    metal = _metal(palette, rng)
    height = float(rng.uniform(5.5, 8.0))
    glass = palette(Pattern.PLAIN, grey(0.8), infrared=0.3)
    pole: list[Solid] = [
        Tube((0, 0, -0.3), (0, 0, 1.0), (0.11, 0.10), metal),
        Tube((0, 0, 1.0), (0, 0, height), (0.08, 0.05), metal),
        Tube((0, 0, height), (0, -1.6, height + 0.25), (0.045, 0.04), metal, sides=6),
        Box((0.22, 0.6, 0.12), (0, -1.7, height + 0.18), metal, glass),
    ]
    return [('pole', pole)]


def traffic_sign(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a traffic sign of random kind on a post, facing negative x."""
    metal = palette(Pattern.PLAIN, grey(0.35), infrared=0.4)
    kind = int(rng.integers(4))
    rim, face = (
        ((0.55, 0.02, 0.02), grey(0.8)),
        ((0.02, 0.08, 0.45), grey(0.75)),
        ((0.50, 0.02, 0.02), (0.45, 0.02, 0.02)),
        ((0.02, 0.02, 0.02), (0.75, 0.55, 0.03)),
    )[kind]
    radius = 0.36
    plate = palette(Pattern.SIGN, rim, face, (radius, float(kind)), infrared=2.0)
    sides = (24, 4, 8, 3)[kind]
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides + (np.pi / 2 if sides == 3 else 0)
    angle += np.pi / 3 if sides == 3 else 0.0
    height = float(rng.uniform(2.2, 2.6))
    rim_points = np.column_stack([np.cos(angle), np.sin(angle)]) * radius
    if sides == 3:
        rim_points *= 1.25
    following = np.roll(rim_points, -1, axis=0)
    uv = np.stack([np.zeros_like(rim_points), rim_points, following, following], axis=1)
    corners = np.concatenate([np.full((*uv.shape[:2], 1), -0.06), uv], axis=2)
    corners[..., 2] += height
    back = corners + np.array([0.02, 0.0, 0.0])
    return [
        ('pole', [Tube((0, 0, -0.3), (0, 0, height + 0.3), (0.035, 0.035), metal)]),
        ('sign', [quads(corners, uv, plate), quads(back, uv, metal)]),
    ]


def billboard(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a large sign on two posts, facing negative y."""
    metal = palette(Pattern.PLAIN, grey(0.2), infrared=0.3)
    picture = palette(
        Pattern.STRIPES,
        varied(rng, (0.5, 0.3, 0.1), 0.8),
        varied(rng, (0.1, 0.3, 0.5), 0.8),
        (0.8, 1.0),
        0.6,
    )
    posts: list[Solid] = [
        Tube((x, 0, -0.3), (x, 0, 2.4), (0.06, 0.06), metal) for x in (-1.2, 1.2)
    ]
    return [('pole', posts), ('sign', [Box((3.2, 0.12, 1.8), (0, 0, 2.2), picture, metal)])]


def traffic_light(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a traffic light facing negative x."""
    metal = _metal(palette, rng)
    black = palette(Pattern.PLAIN, grey(0.02), infrared=0.08)
    parts: list[Solid] = [
        Tube((0, 0, -0.3), (0, 0, 3.4), (0.08, 0.07), metal),
        Box((0.25, 0.34, 0.95), (-0.12, 0, 2.4), black),
    ]
    on = int(rng.integers(3))
    for k, colour in enumerate(((0.02, 0.8, 0.15), (0.9, 0.6, 0.02), (0.9, 0.02, 0.02))):
        shown = colour if k == on else tuple(0.12 * c for c in colour)
        lamp = palette(Pattern.PLAIN, (shown[0], shown[1], shown[2]), infrared=0.1)
        parts.append(
            Tube((-0.26, 0, 2.55 + 0.3 * k), (-0.25, 0, 2.55 + 0.3 * k), (0.1, 0.1), lamp)
        )
    return [('pole', parts)]


def fence(length: float, palette: Palette, rng: np.random.Generator) -> Parts:
    """Build boards, rails on posts, or a low wall along x, centred on the origin."""
    kind = rng.choice(['boards', 'rails', 'wall'])
    if kind == 'wall':
        stone = palette(
            Pattern.BRICK, varied(rng, (0.35, 0.28, 0.2), 0.3), grey(0.4), infrared=0.35
        )
        cap = palette(Pattern.PLAIN, grey(0.4), infrared=0.4)
        height = float(rng.uniform(0.7, 1.5))
        wall = Box((length, 0.25, height + 0.4), (0, 0, -0.4), stone)
        return [('fence', [wall, Box((length, 0.33, 0.08), (0, 0, height), cap)])]
    posts = np.linspace(-length / 2, length / 2, max(int(length / 2.2), 1) + 1)
    if kind == 'boards':
        wood = palette(
            Pattern.PLANKS, varied(rng, (0.22, 0.13, 0.07), 0.5), grey(0.03), (0.14, 1.0), 0.4
        )
        height = float(rng.uniform(1.0, 1.8))
        boards = [Box((length, 0.05, height + 0.3), (0, 0, -0.3), wood)]
        boards += [Box((0.1, 0.1, height + 0.4), (float(x), 0, -0.3), wood) for x in posts]
        return [('fence', boards)]
    metal = _metal(palette, rng)
    parts: list[Solid] = [
        Tube((x, 0, -0.3), (x, 0, 1.1), (0.03, 0.03), metal, sides=6) for x in posts
    ]
    for z in (0.35, 0.7, 1.05):
        parts.append(Box((length, 0.05, 0.06), (0, 0, z), metal))
    for x in np.arange(-length / 2, length / 2, 0.25):
        parts.append(Box((0.025, 0.025, 0.75), (float(x), 0, 0.33), metal))
    return [('fence', parts)]


def bench(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a bench facing negative y."""
    wood = palette(Pattern.PLANKS, varied(rng, (0.25, 0.14, 0.07)), grey(0.05), (0.1, 1.0), 0.4)
    iron = palette(Pattern.PLAIN, grey(0.05), infrared=0.2)
    parts: list[Solid] = [
        Box((1.6, 0.45, 0.06), (0, 0, 0.42), wood),
        Box((1.6, 0.06, 0.4), (0, 0.22, 0.5), wood),
    ]
    parts += [Box((0.08, 0.45, 0.5), (x, 0, -0.08), iron) for x in (-0.7, 0.7)]
    return [('other_static', parts)]


def bin_(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a litter bin."""
    skin = palette(Pattern.PLAIN, varied(rng, (0.05, 0.14, 0.07), 0.6), infrared=0.3)
    body = Tube((0, 0, -0.05), (0, 0, 0.95), (0.24, 0.28), skin, sides=12)
    return [('other_static', [body, ball((0, 0, 0.95), (0.28, 0.28, 0.12), skin)])]


def cabinet(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a grey electrical cabinet."""
    skin = palette(Pattern.PLAIN, varied(rng, grey(0.4, 0.02)), infrared=0.4)
    return [('other_static', [Box((1.1, 0.45, 1.45), (0, 0, -0.1), skin)])]


def bollard(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a bollard."""
    metal = _metal(palette, rng)
    cap = palette(Pattern.PLAIN, grey(0.75), infrared=1.5)
    shaft = Tube((0, 0, -0.1), (0, 0, 0.8), (0.08, 0.08), metal)
    return [('pole', [shaft, Tube((0, 0, 0.8), (0, 0, 0.95), (0.085, 0.085), cap)])]


def cone(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a traffic cone."""
    del rng
    orange = palette(Pattern.PLAIN, (0.75, 0.13, 0.02), infrared=0.6)
    white = palette(Pattern.PLAIN, grey(0.8), infrared=1.5)
    parts: list[Solid] = [
        Box((0.4, 0.4, 0.04), (0, 0, 0), orange),
        Tube((0, 0, 0.04), (0, 0, 0.32), (0.16, 0.10), orange, 12),
        Tube((0, 0, 0.32), (0, 0, 0.5), (0.10, 0.07), white, 12),
        Tube((0, 0, 0.5), (0, 0, 0.72), (0.07, 0.03), orange, 12),
    ]
    return [('other_static', parts)]


def road_barrier(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a red and white barrier along x."""
    del rng
    board = palette(Pattern.STRIPES, (0.6, 0.03, 0.03), grey(0.75), (0.3, 1.0), 1.5)
    foot = palette(Pattern.PLAIN, grey(0.06), infrared=0.15)
    parts: list[Solid] = [Box((2.0, 0.06, 0.3), (0, 0, 0.7), board)]
    parts += [Box((0.1, 0.6, 0.08), (x, 0, 0), foot) for x in (-0.8, 0.8)]
    parts += [Box((0.06, 0.06, 0.9), (x, 0, 0), board) for x in (-0.8, 0.8)]
    return [('fence', parts)]


def bus_shelter(palette: Palette, rng: np.random.Generator) -> Parts:
    """Build a bus shelter, open towards negative y."""
    metal = _metal(palette, rng)
    pane = palette(Pattern.PLAIN, (0.10, 0.16, 0.17), infrared=0.05, gloss=0.35)
    roof = palette(Pattern.PLAIN, varied(rng, grey(0.25)), infrared=0.3)
    parts: list[Solid] = [
        Box((4.0, 1.5, 0.12), (0, 0, 2.4), roof),
        Box((3.9, 0.04, 1.9), (0, 0.7, 0.3), pane),
        Box((0.04, 1.2, 1.9), (-1.95, 0.1, 0.3), pane),
        Box((2.4, 0.35, 0.06), (0, 0.45, 0.45), metal),
    ]
    for x in (-1.95, 1.95):
        parts += [Tube((x, y, -0.2), (x, y, 2.4), (0.05, 0.05), metal) for y in (-0.65, 0.7)]
    return [('other_static', parts)]


def _metal(palette: Palette, rng: np.random.Generator) -> int:
    kinds = (grey(0.3), (0.03, 0.06, 0.05), grey(0.05))
    return palette(Pattern.PLAIN, kinds[rng.integers(3)], infrared=0.35, gloss=0.05)
