"""The street plan of the town: an irregular grid of streets with blocks between them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

# All in metres.
LANE_OFFSET = 1.65  # from the street's centre line to that of the right-hand lane
PARKING_WIDTH = 2.2
CORNER_RADIUS = 4.5
ZEBRA_SETBACK = 2.0  # from an intersection's edge to where zebra crossings begin
SETBACK = 6.0  # from an intersection's edge to where its lanes end, behind the zebra crossing
OUTSKIRTS = 55.0  # streets and blocks extend this far beyond the outermost intersections


@dataclasses.dataclass(frozen=True)
class Block:
    """A block between streets, bounded by its kerbs.

    Attributes:
        x0, x1, y0, y1: kerb lines in plan coordinates, metres.
        pavement: width of the pavement, metres.
        style: `urban`, `suburban`, `park` or `yard`.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    pavement: float
    style: str

    def outline(self, inset: float, step: float = 5.0) -> NDArray[np.float64]:
        """Return the rounded rectangle `inset` inside the kerb, without repeating its first point.

        Args:
            inset: distance from the kerb, metres.
            step: approximate spacing of the points along the straight edges, metres.

        Returns:
            (N, 2) plan positions, counter-clockwise. N does not depend on `inset`, and points of
            the same index lie opposite each other.
        """
        radius = max(CORNER_RADIUS - inset, 0.02)
        x0, x1, y0, y1 = self.x0 + inset, self.x1 - inset, self.y0 + inset, self.y1 - inset
        along_x = np.linspace(0, 1, max(int((self.x1 - self.x0) / step), 2) + 1)
        along_y = np.linspace(0, 1, max(int((self.y1 - self.y0) / step), 2) + 1)
        arc = np.linspace(0, np.pi / 2, 7)[1:]
        points = []
        corners = (
            (x1 - radius, y0 + radius, -np.pi / 2, along_y, (0, 1), y1 - y0),
            (x1 - radius, y1 - radius, 0.0, along_x, (-1, 0), x1 - x0),
            (x0 + radius, y1 - radius, np.pi / 2, along_y, (0, -1), y1 - y0),
            (x0 + radius, y0 + radius, np.pi, along_x, (1, 0), x1 - x0),
        )
        for cx, cy, start, along, heading, length in corners:
            turn = start + arc
            bend = np.array([cx + radius * np.cos(turn), cy + radius * np.sin(turn)]).T
            straight = bend[-1] + (along * (length - 2 * radius))[:, None] * heading
            points += [bend[:-1], straight]
        return np.concatenate(points)


@dataclasses.dataclass(frozen=True)
class StreetPlan:
    """A grid of streets: along x at each of `ys`, and along y at each of `xs`.

    Attributes:
        xs, ys: positions of the streets' centre lines, metres.
        half_x, half_y: distances from centre line to kerb, metres; `half_x[i]` is of the street
            at `xs[i]`.
        blocks: the blocks between the streets, outskirts included.
    """

    xs: NDArray[np.float64]
    ys: NDArray[np.float64]
    half_x: NDArray[np.float64]
    half_y: NDArray[np.float64]
    blocks: tuple[Block, ...]


def make_street_plan(rng: np.random.Generator, count: int = 4) -> StreetPlan:
    """Draw a plan with `count` by `count` intersections, centred on the origin."""
    xs, ys = (np.append(0.0, np.cumsum(rng.uniform(58, 92, count - 1))) for _ in 'xy')
    xs, ys = xs - xs.mean(), ys - ys.mean()
    half_x, half_y = (np.where(rng.random(count) < 0.75, 3.5 + PARKING_WIDTH, 3.5) for _ in 'xy')
    edges_x = _edges(xs, half_x)
    edges_y = _edges(ys, half_y)
    styles = rng.permutation(['urban', 'urban', 'suburban', 'suburban', 'park', 'yard'])
    blocks = []
    for i, (x0, x1) in enumerate(edges_x):
        for j, (y0, y1) in enumerate(edges_y):
            inner = 0 < i < count and 0 < j < count
            style = styles[(i * 2 + j * 3) % 6] if inner else rng.choice(['urban', 'suburban'])
            blocks.append(Block(x0, x1, y0, y1, float(rng.uniform(2.4, 4.0)), str(style)))
    return StreetPlan(xs, ys, half_x, half_y, tuple(blocks))


def _edges(middles: NDArray[np.float64], half: NDArray[np.float64]) -> list[tuple[float, float]]:
    starts = np.concatenate([[middles[0] - half[0] - OUTSKIRTS], middles + half])
    ends = np.concatenate([middles - half, [middles[-1] + half[-1] + OUTSKIRTS]])
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
