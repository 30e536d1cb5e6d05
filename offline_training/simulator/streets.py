"""Meshes of the ground in plan coordinates: roads, kerbs, pavements, land inside the blocks."""

from __future__ import annotations

import numpy as np

from offline_training.simulator.materials import Palette, Pattern, grey, varied
from offline_training.simulator.meshes import Mesh, merge, patch
from offline_training.simulator.street_plan import (
    OUTSKIRTS,
    PARKING_WIDTH,
    ZEBRA_SETBACK,
    Block,
    StreetPlan,
)

_STEP = 5.0  # metres between vertices of the ground, which follows the hills to a centimetre
_UNDER_KERB = 0.3  # metres that roads extend under kerbs: no gaps where tessellations differ


def road_mesh(plan: StreetPlan, palette: Palette, rng: np.random.Generator) -> Mesh:
    """Return the road surface: a patch at each intersection, and the four half streets from it.

    Texture coordinates of a half street, in metres: u is the distance from the intersection's
    patch, v the distance from the centre line, positive to the right of traffic that approaches
    the intersection.
    """
    asphalt = varied(rng, grey(0.085, 0.02), 0.25)
    worn = varied(rng, grey(0.11, 0.03), 0.2)
    paint = grey(0.7)
    plain = palette(Pattern.ASPHALT, asphalt, worn, infrared=0.15)
    parts = []
    for i, x in enumerate(plan.xs):
        for j, y in enumerate(plan.ys):
            reach = np.array([plan.half_x[i], plan.half_y[j]]) + ZEBRA_SETBACK
            parts.append(_sheet(np.array([x, y]), reach + 0.05, plain))
            for axis, lines, index in ((0, plan.xs, i), (1, plan.ys, j)):
                half = (plan.half_y[j], plan.half_x[i])[axis]
                parking = PARKING_WIDTH if half > 4 else 0.0
                material = palette(Pattern.ROAD, asphalt, paint, (float(half), parking), 0.15)
                for sign in (-1, 1):
                    end = _half_street_end(lines, index, sign)
                    outward = np.zeros(2)
                    outward[axis] = sign
                    start = np.array([x, y]) + outward * reach[axis]
                    length = abs(end - start[axis])
                    parts.append(_half_street(start, outward, length, half, material))
    return merge(parts)


def block_meshes(block: Block, palette: Palette, rng: np.random.Generator) -> dict[str, Mesh]:
    """Return a block's kerb and pavement (`sidewalk`) and the land inside it (`ground`)."""
    kerb_height = float(rng.uniform(0.12, 0.15))
    stone = palette(Pattern.SLABS, grey(0.33), grey(0.29), (1.0, 5.0), 0.35)
    # A quarter of the pavements is asphalt, which colour alone hardly tells from the road.
    paving = (
        palette(Pattern.ASPHALT, grey(0.10, 0.02), grey(0.13, 0.02), infrared=0.17)
        if rng.random() < 0.25
        else palette(
            Pattern.SLABS,
            varied(rng, grey(0.30, 0.05)),
            varied(rng, grey(0.26, 0.05)),
            (float(rng.choice([0.4, 0.6, 1.2])), 0.6),
            0.32,
        )
    )
    grass = palette(Pattern.GRASS, (0.045, 0.11, 0.02), (0.10, 0.14, 0.04), infrared=0.55)
    inside = {
        'urban': palette(Pattern.ASPHALT, grey(0.16, 0.08), grey(0.2, 0.1), infrared=0.2),
        'yard': palette(Pattern.ASPHALT, (0.24, 0.19, 0.13), (0.3, 0.24, 0.17), infrared=0.3),
    }.get(block.style, grass)

    def ring(inset: float, height: float) -> np.ndarray:
        outline = block.outline(inset)
        closed = np.concatenate([outline, outline[:1]])
        return np.column_stack([closed, np.full(len(closed), height)])

    rings = [ring(0, -0.15), ring(0.02, kerb_height), ring(0.17, kerb_height)]
    rings.append(ring(block.pavement, kerb_height + 0.03))
    sidewalk = patch(np.stack(rings), np.repeat([stone, stone, paving], len(rings[0]) - 1))
    middle = np.array([(block.x0 + block.x1) / 2, (block.y0 + block.y1) / 2])
    shrink = np.linspace(1.0, 0.0, 7)[:, None, None]
    land = rings[-1] - np.append(middle, 0.0)
    land = land * np.concatenate([shrink, shrink, np.ones_like(shrink)], axis=2)
    ground = patch(land + np.append(middle, 0.0), inside)
    return {'sidewalk': sidewalk, 'ground': ground}


def outskirts_mesh(plan: StreetPlan, palette: Palette) -> Mesh:
    """Return the grassland around and under the town, lower than its other surfaces."""
    grass = palette(Pattern.GRASS, (0.06, 0.11, 0.03), (0.13, 0.14, 0.05), infrared=0.5)
    reach_x = plan.xs[-1] + OUTSKIRTS + 900.0
    reach_y = plan.ys[-1] + OUTSKIRTS + 900.0
    x, y = np.meshgrid(np.linspace(-reach_x, reach_x, 160), np.linspace(-reach_y, reach_y, 160))
    return patch(np.stack([x, y, np.full_like(x, -0.25)], axis=-1), grass)


def _half_street_end(lines: np.ndarray, index: int, sign: int) -> float:
    """Return where the half street from `lines[index]` ends: half way to the next street."""
    neighbour = index + sign
    if 0 <= neighbour < len(lines):
        return float((lines[index] + lines[neighbour]) / 2)
    return float(lines[index] + sign * OUTSKIRTS * 1.05)


def _half_street(
    start: np.ndarray, outward: np.ndarray, length: float, half: float, material: int
) -> Mesh:
    right = np.array([-outward[1], outward[0]])
    u = np.linspace(0.0, length, max(int(length / _STEP), 1) + 1)
    v = np.linspace(-half - _UNDER_KERB, half + _UNDER_KERB, 5)
    v_grid, u_grid = np.meshgrid(v, u)
    plane = start + u_grid[..., None] * outward + v_grid[..., None] * right
    grid = np.concatenate([plane, np.zeros((*u_grid.shape, 1))], axis=-1)
    return patch(grid, material, np.stack([u_grid, v_grid], axis=-1))


def _sheet(centre: np.ndarray, reach: np.ndarray, material: int) -> Mesh:
    x, y = np.meshgrid(np.linspace(-1, 1, 7) * reach[0], np.linspace(-1, 1, 7) * reach[1])
    # Lower than the half streets that overlap it, so that theirs is the visible surface.
    return patch(np.stack([x + centre[0], y + centre[1], np.full_like(x, -0.004)], -1), material)
