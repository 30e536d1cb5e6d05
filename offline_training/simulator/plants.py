"""Trees, bushes and hedges, with many small triangles for leaves."""

from __future__ import annotations

import numpy as np

from offline_training.simulator.materials import Palette, Pattern, varied
from offline_training.simulator.meshes import Box, Mesh, Solid, Tube, ball, merge


def leafy_tree(palette: Palette, rng: np.random.Generator) -> Mesh:
    """Build a broad-leaved tree at the origin."""
    height = float(rng.uniform(5.0, 9.0))
    stem = float(rng.uniform(1.9, 2.6))
    spread = float(rng.uniform(1.5, 2.4))
    bark = palette(Pattern.LEAVES, (0.10, 0.07, 0.05), (0.17, 0.13, 0.09), infrared=0.35)
    leaves = _leaf_material(palette, rng)
    lean = rng.normal(0, 0.12, 2)
    top = (float(lean[0]), float(lean[1]), stem + 0.6)
    parts: list[Solid] = [Tube((0, 0, -0.4), top, (0.20, 0.13), bark, sides=8, caps=False)]
    middle = np.array([*lean, (stem + height) / 2])
    radii = np.array([spread, spread, (height - stem) / 2])
    for _ in range(7):
        centre = middle + rng.uniform(-0.55, 0.55, 3) * radii
        size = radii * rng.uniform(0.4, 0.6)
        parts.append(ball(centre, size, leaves, rows=5, columns=8, roughness=0.2, rng=rng))
        branch = (float(centre[0]), float(centre[1]), float(centre[2]))
        parts.append(Tube(top, branch, (0.07, 0.03), bark, sides=5, caps=False))
        parts.append(_foliage(centre, size * 1.12, 75, leaves, rng))
    return merge(parts)


def conifer(palette: Palette, rng: np.random.Generator) -> Mesh:
    """Build a conifer at the origin."""
    height = float(rng.uniform(5.0, 10.0))
    bark = palette(Pattern.LEAVES, (0.10, 0.07, 0.05), (0.17, 0.13, 0.09), infrared=0.35)
    needles = palette(
        Pattern.LEAVES, varied(rng, (0.02, 0.07, 0.03), 0.3), (0.05, 0.12, 0.05), infrared=0.5
    )
    parts: list[Solid] = [Tube((0, 0, -0.4), (0, 0, height * 0.5), (0.18, 0.1), bark, caps=False)]
    for level in np.linspace(0.12, 0.85, 7):
        low, radius = height * level, (1.05 - level) * height * 0.22
        parts.append(
            Tube((0, 0, low), (0, 0, low + height * 0.2), (radius, 0.1), needles, 9, caps=False)
        )
        centre = np.array([0, 0, low + 0.2])
        parts.append(_foliage(centre, np.array([radius, radius, 0.4]), 45, needles, rng))
    return merge(parts)


def bush(palette: Palette, rng: np.random.Generator) -> list[Solid]:
    """Build a bush at the origin."""
    leaves = _leaf_material(palette, rng)
    size = rng.uniform((0.5, 0.5, 0.4), (1.1, 1.1, 0.9))
    body = ball((0, 0, size[2] * 0.7), size, leaves, rows=5, columns=9, roughness=0.25, rng=rng)
    return [body, _foliage(np.array([0, 0, size[2] * 0.7]), size * 1.08, 90, leaves, rng)]


def hedge(length: float, palette: Palette, rng: np.random.Generator) -> list[Solid]:
    """Build a hedge along x, centred on the origin."""
    leaves = _leaf_material(palette, rng)
    height, depth = float(rng.uniform(0.9, 1.7)), float(rng.uniform(0.5, 0.8))
    body = Box((length, depth * 0.9, height + 0.3), (0, 0, -0.3), leaves)
    count = int(length * 45)
    points = rng.uniform(
        (-length / 2, -depth / 2, 0.0), (length / 2, depth / 2, height), (count, 3)
    )
    side = rng.integers(0, 3, count)
    points[side == 0, 1] = -depth / 2
    points[side == 1, 1] = depth / 2
    points[side == 2, 2] = height
    return [body, _leaf_cards(points, 0.17, leaves, rng)]


def _leaf_material(palette: Palette, rng: np.random.Generator) -> int:
    # A few kinds only, so that plants of the same kind have the same colours.
    kinds = (
        ((0.035, 0.085, 0.015), (0.09, 0.16, 0.03)),
        ((0.06, 0.10, 0.02), (0.14, 0.18, 0.05)),
        ((0.025, 0.065, 0.025), (0.06, 0.11, 0.04)),
        ((0.11, 0.09, 0.02), (0.22, 0.15, 0.03)),
    )
    dark, light = kinds[rng.choice(4, p=[0.4, 0.3, 0.22, 0.08])]
    return palette(Pattern.LEAVES, dark, light, infrared=0.55)


def _foliage(
    centre: np.ndarray, radii: np.ndarray, count: int, material: int, rng: np.random.Generator
) -> Mesh:
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return _leaf_cards(
        centre + direction * radii * rng.uniform(0.85, 1.1, (count, 1)), 0.26, material, rng
    )


def _leaf_cards(points: np.ndarray, size: float, material: int, rng: np.random.Generator) -> Mesh:
    """Return a small triangle with random orientation at each of (N, 3) points."""
    a = rng.normal(size=points.shape)
    b = np.cross(a, rng.normal(size=points.shape))
    a *= size * 0.7 / np.linalg.norm(a, axis=1, keepdims=True)
    b *= size * 0.6 / np.linalg.norm(b, axis=1, keepdims=True)
    corners = np.stack([points - a, points + a * 0.5 - b, points + a * 0.5 + b], axis=1)
    count = len(points)
    return Mesh(
        corners.reshape(-1, 3),
        np.arange(3 * count).reshape(count, 3),
        np.zeros((3 * count, 2)),
        np.full(count, material),
    )
