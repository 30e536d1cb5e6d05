"""The lanes of a town: straight lanes between intersections and turns on them, driven right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_training.simulator.street_plan import LANE_OFFSET, SETBACK, StreetPlan

_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_SPACING = 0.25  # metres between the points of a lane's polyline


@dataclasses.dataclass(frozen=True)
class Lane:
    """The centre line of a lane.

    Attributes:
        points: (N, 2) plan positions, evenly spaced, metres.
        yaw: (N,) headings in the plan, unwrapped, radians.
        length: metres.
        crossing: index of the intersection that it ends at (straight lane) or crosses (turn).
        following: indices of the lanes that begin where it ends.
        speed: speed limit, m/s.
        is_turn: whether it crosses an intersection, straight on included.
    """

    points: NDArray[np.float64]
    yaw: NDArray[np.float64]
    length: float
    crossing: int
    following: tuple[int, ...]
    speed: float
    is_turn: bool


class LaneTable:
    """The points of all lanes in one array, for vectorised lookup of poses."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._length = np.array([lane.length for lane in lanes])
        self._legs = np.array([len(lane.points) - 1 for lane in lanes])
        self._first = np.cumsum([0] + [len(lane.points) for lane in lanes[:-1]])
        self._pose = np.concatenate([np.column_stack([k.points, k.yaw]) for k in lanes])

    def poses(self, lane: ArrayLike, along: ArrayLike) -> NDArray[np.float64]:
        """Return plan x, y and yaw, (N, 3), `along` metres from the starts of (N,) lanes."""
        lane = np.asarray(lane)
        legs = self._legs[lane]
        position = np.clip(np.asarray(along) / self._length[lane], 0.0, 1.0) * legs
        k = np.minimum(position.astype(np.int64), legs - 1)
        f = (position - k)[:, None]
        k += self._first[lane]
        return (1 - f) * self._pose[k] + f * self._pose[k + 1]


def make_lanes(plan: StreetPlan) -> list[Lane]:
    """Return all lanes of the plan, for right-hand traffic without U-turns."""
    starts: dict[tuple[int, int, int], int] = {}  # (i, j, heading) of a lane leaving (i, j)
    ends: dict[tuple[int, int, int], int] = {}  # (i, j, heading) of a lane arriving at (i, j)
    count_x, count_y = len(plan.xs), len(plan.ys)
    shapes: list[tuple[NDArray[np.float64], int, float, bool]] = []
    for i in range(count_x):
        for j in range(count_y):
            for h, (dx, dy) in enumerate(_HEADINGS):
                if not (0 <= i + dx < count_x and 0 <= j + dy < count_y):
                    continue
                ends[i + dx, j + dy, h] = starts[i, j, h] = len(shapes)
                line = np.stack([_gate(plan, i, j, h, 1), _gate(plan, i + dx, j + dy, h, -1)])
                shapes.append((line, (i + dx) * count_y + j + dy, 10.0, False))
    following: dict[int, list[int]] = {k: [] for k in range(len(shapes))}
    turns: dict[int, int] = {}
    for (i, j, h), arriving in ends.items():
        for g in range(4):
            leaving = starts.get((i, j, g))
            if leaving is None or g == (h + 2) % 4:
                continue
            a, b = shapes[arriving][0][-1], shapes[leaving][0][0]
            # Turns are cubic Bezier curves; 0.5523 approximates a quarter circle.
            handle = 0.5523 * np.abs(b - a).max() if g != h else np.linalg.norm(b - a) / 3
            t = np.linspace(0, 1, 60)[:, None]
            p1, p2 = a + handle * np.array(_HEADINGS[h]), b - handle * np.array(_HEADINGS[g])
            curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * p1
            curve = curve + 3 * (1 - t) * t**2 * p2 + t**3 * b
            following[arriving].append(len(shapes))
            turns[len(shapes)] = leaving
            shapes.append((curve, i * count_y + j, 8.0 if g == h else 4.2, True))
    return [
        _lane(shape, crossing, speed, is_turn, (turns[k],) if is_turn else tuple(following[k]))
        for k, (shape, crossing, speed, is_turn) in enumerate(shapes)
    ]


def _gate(plan: StreetPlan, i: int, j: int, heading: int, sign: int) -> NDArray[np.float64]:
    """Return where the lane of a heading leaves (sign 1) or reaches (-1) an intersection, (2,)."""
    forward = np.array(_HEADINGS[heading], float)
    right = np.array([forward[1], -forward[0]])
    reach = SETBACK + (plan.half_x[i] if forward[0] != 0 else plan.half_y[j])
    return np.array([plan.xs[i], plan.ys[j]]) + sign * reach * forward + LANE_OFFSET * right


def _lane(
    shape: NDArray[np.float64],
    crossing: int,
    speed: float,
    is_turn: bool,
    following: tuple[int, ...],
) -> Lane:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(shape, axis=0), axis=1))])
    even = np.linspace(0, along[-1], max(int(along[-1] / _SPACING), 2) + 1)
    points = np.column_stack([np.interp(even, along, shape[:, k]) for k in (0, 1)])
    steps = np.gradient(points, axis=0)
    yaw = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    return Lane(points, yaw, float(along[-1]), crossing, following, speed, is_turn)
