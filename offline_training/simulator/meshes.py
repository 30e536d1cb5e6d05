"""Triangle meshes with texture coordinates, and the primitives that the town is built from."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TWO_HALVES = np.array([[0, 1, 2], [0, 2, 3]])  # the triangles of a quadrilateral
# A box of unit size on the origin: four walls of four corners each, then bottom and top.
_OUTLINE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
_BOX_CORNERS = np.array(
    [
        (*_OUTLINE[(wall + following) % 4], height)
        for wall in range(4)
        for following, height in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    + [(*corner, height) for height in (0, 1) for corner in _OUTLINE]
)
_BOX_WALLS_UV = np.array([(0, 0), (1, 0), (1, 1), (0, 1)] * 4)
# A wall's u runs along x or y, its v along z.
_BOX_WALLS_AXES = np.repeat([(0, 2), (1, 2), (0, 2), (1, 2)], 4, axis=0)
_BOX_TRIANGLES = (4 * np.arange(6)[:, None, None] + _TWO_HALVES).reshape(-1, 3)


@dataclasses.dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles, each of one material.

    Attributes:
        vertices: (V, 3) float64, metres.
        triangles: (T, 3) int64 vertex indices; either side may face outwards.
        uv: (V, 2) float64 texture coordinates, metres on the surface.
        material: (T,) int64 index into the town's materials.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    uv: NDArray[np.float64]
    material: NDArray[np.int64]

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """Return the mesh rotated about z by `yaw` (radians), then translated (metres)."""
        c, s = np.cos(yaw), np.sin(yaw)
        turned = self.vertices @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        turned += (x, y, z)
        return dataclasses.replace(self, vertices=turned)

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """Return the mesh scaled by a factor along each axis."""
        return dataclasses.replace(self, vertices=self.vertices * (x, y, z))

    def painted(self, *materials: int) -> Mesh:
        """Return the mesh with material indices 0, 1, ... replaced by `materials`."""
        return dataclasses.replace(self, material=np.array(materials)[self.material])


class Box(NamedTuple):
    """An axis-aligned box.

    Its walls have the texture coordinates u along the wall and v above the bottom, in metres.

    Attributes:
        size: extent along x, y, z, metres.
        centre: of the bottom face, metres.
        side: material of the four walls.
        top: material of top and bottom; None for that of the walls.
    """

    size: tuple[float, float, float]
    centre: tuple[float, float, float]
    side: int
    top: int | None = None


class Tube(NamedTuple):
    """A conical frustum from `start` to `end`.

    Its texture coordinates are u around and v along it, in metres.

    Attributes:
        start, end: centres of the end faces, metres.
        radii: at `start` and at `end`, metres.
        material: of all faces.
        sides: number of faces around it.
        caps: whether the ends are closed.
    """

    start: Sequence[float]
    end: Sequence[float]
    radii: tuple[float, float]
    material: int
    sides: int = 8
    caps: bool = True


Solid = Mesh | Box | Tube


def merge(solids: Sequence[Solid]) -> Mesh:
    """Join solids into one mesh."""
    return _join(_triangulate(solids))


def merge_each(things: Sequence[Sequence[Solid]]) -> list[Mesh]:
    """Join the solids of each thing into a mesh; faster than calling `merge` for each."""
    meshes = iter(_triangulate([solid for thing in things for solid in thing]))
    return [_join(list(itertools.islice(meshes, len(thing)))) for thing in things]


def _join(meshes: Sequence[Mesh]) -> Mesh:
    if len(meshes) == 1:
        return meshes[0]
    starts = itertools.accumulate([len(mesh.vertices) for mesh in meshes[:-1]], initial=0)
    triangles = np.concatenate([mesh.triangles for mesh in meshes])
    triangles += np.repeat(list(starts), [len(mesh.triangles) for mesh in meshes])[:, None]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        triangles,
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.material for mesh in meshes]),
    )


def _triangulate(solids: Sequence[Solid]) -> list[Mesh]:
    """Return each solid's mesh; boxes, and tubes of equal `sides` and `caps`, are batched."""
    meshes: dict[int, Mesh] = {}
    boxes: dict[int, Box] = {}
    tubes: dict[tuple[int, bool], dict[int, Tube]] = collections.defaultdict(dict)
    for place, solid in enumerate(solids):
        if isinstance(solid, Mesh):
            meshes[place] = solid
        elif isinstance(solid, Box):
            boxes[place] = solid
        else:
            tubes[solid.sides, solid.caps][place] = solid
    if boxes:
        meshes.update(zip(boxes, _boxes(list(boxes.values())), strict=True))
    for (sides, caps), alike in tubes.items():
        meshes.update(zip(alike, _tubes(list(alike.values()), sides, caps), strict=True))
    return [meshes[place] for place in range(len(solids))]


def quads(corners: ArrayLike, uv: ArrayLike | None, material: ArrayLike) -> Mesh:
    """Build a mesh of quadrilaterals, two triangles each.

    Args:
        corners: (N, 4, 3) in order around each quadrilateral, metres.
        uv: (N, 4, 2) texture coordinates; None for x and y of the corners.
        material: one index, or (N,).
    """
    points = np.asarray(corners, np.float64).reshape(-1, 4, 3)
    texture = points[..., :2] if uv is None else np.asarray(uv, np.float64)
    of_half = np.empty((len(points), 2), np.int64)
    of_half.T[:] = material
    return Mesh(
        points.reshape(-1, 3),
        _quad_triangles(len(points)),
        texture.reshape(-1, 2),
        of_half.reshape(-1),
    )


@functools.cache
def _quad_triangles(count: int) -> NDArray[np.int64]:
    """Return the vertex indices of `count` quadrilaterals of four consecutive vertices each."""
    return (4 * np.arange(count)[:, None, None] + _TWO_HALVES).reshape(-1, 3)


def _boxes(boxes: Sequence[Box]) -> Iterator[Mesh]:
    """Yield the mesh of each box."""
    extent = np.array([box.size for box in boxes], np.float64)
    vertices = _BOX_CORNERS * extent[:, None]
    vertices += np.array([box.centre for box in boxes], np.float64)[:, None]
    uv = vertices[:, :, :2].copy()
    uv[:, :16] = _BOX_WALLS_UV * extent[:, _BOX_WALLS_AXES]
    material = np.empty((len(boxes), 12), np.int64)
    material.T[:8] = [box.side for box in boxes]
    material.T[8:] = [box.side if box.top is None else box.top for box in boxes]
    return map(Mesh, vertices, itertools.repeat(_BOX_TRIANGLES), uv, material)


def prism_walls(outline: NDArray[np.float64], z0: float, z1: float, material: int) -> Mesh:
    """Build vertical walls on the closed polygon `outline`.

    Args:
        outline: (N, 2) corners, the first not repeated, metres.
        z0, z1: bottom and top of the walls, metres.
        material: of the walls; u starts at zero on each wall, v at its bottom.
    """
    following = np.concatenate([outline[1:], outline[:1]])
    length = np.hypot(*(following - outline).T)
    corners = np.empty((len(outline), 4, 3))
    corners[:, [0, 3], :2] = outline[:, None]
    corners[:, [1, 2], :2] = following[:, None]
    corners[:, :2, 2], corners[:, 2:, 2] = z0, z1
    uv = np.zeros((len(outline), 4, 2))
    uv[:, [1, 2], 0] = length[:, None]
    uv[:, 2:, 1] = z1 - z0
    return quads(corners, uv, material)


def _tubes(tubes: Sequence[Tube], sides: int, caps: bool) -> Iterator[Mesh]:
    """Yield the mesh of each tube; all have the given `sides` and `caps`."""
    a = np.array([tube.start for tube in tubes], np.float64)
    b = np.array([tube.end for tube in tubes], np.float64)
    radii = np.array([tube.radii for tube in tubes], np.float64)
    ax, ay, az = (b - a).T
    length = np.sqrt(ax * ax + ay * ay + az * az)
    # Two directions orthogonal to the axis and to each other; e2 has the axis' length.
    flat = np.hypot(ax, ay)
    upright = flat <= 1e-9
    flat[upright] = 1.0
    e1 = np.where(upright, [[1.0], [0.0], [0.0]], [-ay / flat, ax / flat, np.zeros_like(flat)])
    e2 = np.array([ay * e1[2] - az * e1[1], az * e1[0] - ax * e1[2], ax * e1[1] - ay * e1[0]])
    turn, across, faces = _tube_table(sides, caps)
    ring = across[:, :1] * e1.T[:, None] + across[:, 1:] * (e2 / length).T[:, None]
    count = sides + 1
    vertices = np.empty((len(tubes), 2 * count + 2 * caps, 3))
    vertices[:, :count] = a[:, None] + radii[:, :1, None] * ring
    vertices[:, count : 2 * count] = b[:, None] + radii[:, 1:, None] * ring
    uv = np.zeros((*vertices.shape[:2], 2))
    uv[:, :count, 0] = uv[:, count : 2 * count, 0] = turn * radii[:, :1]
    uv[:, count : 2 * count, 1] = length[:, None]
    if caps:
        vertices[:, -2], vertices[:, -1] = a, b
    material = np.empty((len(tubes), len(faces)), np.int64)
    material.T[:] = [tube.material for tube in tubes]
    return map(Mesh, vertices, itertools.repeat(faces), uv, material)


@functools.cache
def _tube_table(
    sides: int, caps: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return a tube's vertex indices, and the angles of its columns of vertices.

    Returns:
        (N,) angles, radians; (N, 2) their cosine and sine; (T, 3) vertex indices.
    """
    # The first column is repeated at the end, because it has two texture coordinates.
    k = np.arange(sides)
    angle = np.asarray(2 * np.pi / sides * np.arange(sides + 1), np.float64)
    wall = np.stack([k, k + 1, k + sides + 2, k, k + sides + 2, k + sides + 1], 1)
    triangles = [wall.reshape(-1, 3)]
    if caps:
        middle = np.full(sides, 2 * sides + 2)
        triangles.append(np.stack([middle, k, k + 1], 1))
        triangles.append(np.stack([middle + 1, k + sides + 1, k + sides + 2], 1))
    return angle, np.column_stack([np.cos(angle), np.sin(angle)]), np.concatenate(triangles)


def ball(
    centre: ArrayLike,
    radii: ArrayLike,
    material: int,
    rows: int = 6,
    columns: int = 10,
    roughness: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Mesh:
    """Build an ellipsoid.

    Args:
        centre: (3,) metres.
        radii: (3,) along x, y, z, metres.
        material: of all faces.
        rows, columns: number of faces from pole to pole and around.
        roughness: largest random change of a vertex's radius, relative to it.
        rng: draws the changes; None for a smooth surface.
    """
    unit = _unit_ball(rows, columns)
    if rng is not None:
        unit = unit * (1 + roughness * rng.uniform(-1, 1, (rows + 1, columns, 1)))
        unit[0], unit[-1] = unit[0, 0], unit[-1, 0]
    points = unit * np.asarray(radii) + np.asarray(centre)
    wrapped = np.concatenate([points, points[:, :1]], axis=1)
    return patch(wrapped, material)


@functools.cache
def _unit_ball(rows: int, columns: int) -> NDArray[np.float64]:
    """Return a (rows + 1, columns, 3) grid of points on the unit sphere."""
    polar = np.linspace(0, np.pi, rows + 1)[:, None]
    turn = 2 * np.pi * np.arange(columns)[None, :] / columns
    return np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], -1
    )


def patch(grid: NDArray[np.float64], material: ArrayLike, uv: ArrayLike | None = None) -> Mesh:
    """Build the surface through a (R, C, 3) grid of points.

    Args:
        grid: the points, metres; four neighbours make a face.
        material: one index, or ((R - 1) * (C - 1),) for the faces in row order.
        uv: (R, C, 2) texture coordinates; None for x and y of the points.
    """
    around = _around(*grid.shape[:2])
    corners = grid.reshape(-1, 3)[around]
    return quads(corners, None if uv is None else np.asarray(uv).reshape(-1, 2)[around], material)


@functools.cache
def _around(rows: int, columns: int) -> NDArray[np.int64]:
    """Return the flat indices of the four corners of each face of a grid, (faces, 4)."""
    first = (columns * np.arange(rows - 1)[:, None] + np.arange(columns - 1)).reshape(-1, 1)
    return first + np.array([0, 1, columns + 1, columns])
