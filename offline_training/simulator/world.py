"""The world of a seed: a town with moving traffic, and ray casting against both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator import people, vehicles
from offline_training.simulator.bodies import Body, Hits
from offline_training.simulator.materials import CLASSES, SKY, MaterialTable, Palette
from offline_training.simulator.meshes import Mesh
from offline_training.simulator.street_plan import make_street_plan
from offline_training.simulator.terrain import Terrain
from offline_training.simulator.town import Town
from offline_training.simulator.traffic import STEP_S, Traffic

_VEHICLES, _CYCLISTS, _WALKERS = 22, 7, 110
_EGO_LENGTH = 4.6
_REACH = 170.0  # metres from the car: movers farther away are ignored
_LONGEST_SHADOW = 30.0  # metres
_CHUNK = 32  # consecutive rays that are tested against a mover together
_GROUP = 8  # consecutive chunks that are tested together first


@dataclasses.dataclass(frozen=True)
class Mover:
    """A rigid moving object.

    Attributes:
        body: in its own frame, x forward, standing on z = 0.
        centre_height: z of the centre of its bounding sphere, metres.
        radius: of the bounding sphere, metres.
        box: (2, 3) lowest and highest corner of its bounding box, in its own frame, metres.
    """

    body: Body
    centre_height: float
    radius: float
    box: NDArray[np.float64]


class World:
    """Everything that a ray can hit.

    Attributes:
        traffic: simulates the poses of all movers.
        materials: of all surfaces.
        class_of: (instances + 1,) uint8 class index of each instance id; 0 is the sky.
        sun: (3,) unit vector towards the sun, in the world.
        first_mover: lowest instance id of the movers.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        palette = Palette()
        plan = make_street_plan(rng)
        terrain = Terrain(rng)
        town = Town(plan, terrain, palette, rng)
        meshes = _mover_meshes(palette, rng)
        class_of = town.class_of + [CLASSES.index(name) for name, _, _ in meshes]
        self.class_of = np.array([SKY, *class_of], np.uint8)
        self._town = Body(town.objects, range(1, len(town.objects) + 1))
        self.first_mover = len(town.objects) + 1
        self._movers = [
            _mover(mesh, self.first_mover + k) for k, (_, mesh, _) in enumerate(meshes)
        ]
        # Bounding spheres and boxes of all movers, as arrays for Numba.
        self._extents = (
            np.array([mover.centre_height for mover in self._movers]),
            np.array([mover.radius for mover in self._movers]),
            np.stack([mover.box for mover in self._movers]),
        )
        driven = _VEHICLES + _CYCLISTS
        self.traffic = Traffic(
            plan,
            terrain,
            [_EGO_LENGTH] + [length for _, _, length in meshes[:driven]],
            [False] * (_VEHICLES + 1) + [True] * _CYCLISTS,
            _WALKERS,
            np.random.default_rng([seed, 1]),
        )
        self.materials: MaterialTable = palette.table()
        height, azimuth = np.radians(rng.uniform(28, 60)), rng.uniform(0, 2 * np.pi)
        self.sun = np.array(
            [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
        )

    def cast(
        self,
        rays: NDArray[np.float32],
        times: NDArray[np.float64],
        image_shape: tuple[int, int] | None = None,
    ) -> Hits:
        """Return the first hit of each ray at its own time.

        Args:
            rays: (N, 6) float32 origins and unit directions in the world; for speed, consecutive
                rays should be neighbours in space.
            times: (N,) seconds of the drive, within the traffic's memory; or (1,) for all rays.
            image_shape: H, W if these are the pixels of an image, see `Body.cast`.
        """
        hits = self._town.cast(rays, image_shape)
        start, poses = self.traffic.window(float(times.min()), float(times.max()))
        for mover, index, local, turns in self._entering(rays, hits.distance, times, start, poses):
            found = mover.body.cast(local)
            _take_nearer(
                index, turns, found.distance, found.instance, found.material, found.uv,
                found.normal, hits.distance, hits.instance, hits.material, hits.uv, hits.normal,
            )  # fmt: skip
        return hits

    def sunlit(self, points: NDArray[np.float32], time: float) -> NDArray[np.bool_]:
        """Return whether each of (N, 3) points in the world is in direct sunlight, (N,) bool."""
        rays = np.empty((len(points), 6), np.float32)
        rays[:, :3], rays[:, 3:] = points, self.sun
        shadowed = self._town.occludes(rays)
        start, poses = self.traffic.window(time, time)
        far = np.where(shadowed, np.float32(0), np.float32(_LONGEST_SHADOW))
        for mover, index, local, _ in self._entering(rays, far, np.array([time]), start, poses):
            shadowed[index] |= mover.body.occludes(local)
        return ~shadowed

    def _entering(
        self,
        rays: NDArray[np.float32],
        distance: NDArray[np.float32],
        times: NDArray[np.float64],
        start: float,
        poses: NDArray[np.float64],
    ) -> Iterator[tuple[Mover, NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]]:
        """Yield each mover whose box rays enter before `distance`, with `_into_frame` of it."""
        tracks = np.ascontiguousarray(poses[:, 1:].swapaxes(0, 1))
        offset = poses[0, 1:, :2] - poses[0, 0, :2]
        near = np.flatnonzero(np.hypot(offset[:, 0], offset[:, 1]) < _REACH)
        chunks = _chunks(rays)
        bounds, index, local, turns = _entering_all(
            rays, chunks, _groups(chunks), distance, times, start, near, tracks, *self._extents
        )
        for place in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[place], bounds[place + 1])
            yield self._movers[near[place]], index[part], local[part], turns[part]


def _mover_meshes(palette: Palette, rng: np.random.Generator) -> list[tuple[str, Mesh, float]]:
    """Return class name, mesh and length (metres) of each mover: vehicles, cyclists, walkers."""
    meshes: list[tuple[str, Mesh, float]] = []
    for _ in range(_VEHICLES):
        kind = vehicles.VEHICLE_KINDS[rng.choice(6, p=[0.26, 0.22, 0.22, 0.12, 0.09, 0.09])]
        vehicle = vehicles.make_vehicle(kind, palette, rng)
        meshes.append((vehicle.class_name, vehicle.mesh, vehicle.length))
    meshes += [('two_wheeler', people.cyclist(palette, rng), 1.8) for _ in range(_CYCLISTS)]
    meshes += [('person', people.pedestrian(palette, rng), 0.6) for _ in range(_WALKERS)]
    return meshes


def _mover(mesh: Mesh, instance: int) -> Mover:
    height = float(mesh.vertices[:, 2].max()) / 2
    radius = float(np.linalg.norm(mesh.vertices - (0.0, 0.0, height), axis=1).max()) + 0.05
    box = np.stack([mesh.vertices.min(axis=0) - 0.01, mesh.vertices.max(axis=0) + 0.01])
    return Mover(Body([mesh], [instance]), height, radius, box)


@njit(cache=True, nogil=True)
def _entering_all(
    rays, chunks, groups, distance, times, start, near, tracks, centre_heights, radii, boxes
):  # fmt: skip
    """Return the results of `_into_frame` for the movers `near`, concatenated.

    Returns:
        (movers + 1,) int64 offsets of each mover's rows, and the three concatenated arrays.
    """
    bounds = np.zeros(len(near) + 1, np.int64)
    reaching = np.empty(len(rays), np.int64)
    parts = []
    for place in range(len(near)):
        k = near[place]
        count = _reaching(
            rays, chunks, groups, distance, tracks[k], centre_heights[k], radii[k], reaching
        )
        part = _into_frame(rays, reaching[:count], distance, times, start, tracks[k], boxes[k])
        parts.append(part)
        bounds[place + 1] = bounds[place] + len(part[0])
    index = np.empty(bounds[-1], np.int64)
    local = np.empty((bounds[-1], 6), np.float32)
    turns = np.empty((bounds[-1], 2))
    for place in range(len(near)):
        begin, end = bounds[place], bounds[place + 1]
        index[begin:end], local[begin:end], turns[begin:end] = parts[place]
    return bounds, index, local, turns


@njit(cache=True, nogil=True)
def _chunks(rays):
    """Compute bounds of each `_CHUNK` consecutive rays.

    Returns:
        (C, 10) float32: the middle ray's origin, the largest distance of another ray's origin
        from it, and the minimum and maximum of x, y, z of the directions.
    """
    count = (len(rays) + _CHUNK - 1) // _CHUNK
    chunks = np.empty((count, 10), np.float32)
    for c in range(count):
        begin, end = c * _CHUNK, min((c + 1) * _CHUNK, len(rays))
        middle = (begin + end) // 2
        apart = np.float32(0)
        for k in range(3):
            chunks[c, k] = rays[middle, k]
            chunks[c, 4 + k] = chunks[c, 7 + k] = rays[middle, 3 + k]
        for i in range(begin, end):
            away = np.float32(0)
            for k in range(3):
                away += (rays[i, k] - chunks[c, k]) ** 2
                chunks[c, 4 + k] = min(chunks[c, 4 + k], rays[i, 3 + k])
                chunks[c, 7 + k] = max(chunks[c, 7 + k], rays[i, 3 + k])
            apart = max(apart, away)
        chunks[c, 3] = np.sqrt(apart)
    return chunks


@njit(cache=True, nogil=True)
def _groups(chunks):
    """Compute bounds of each `_GROUP` consecutive chunks, (G, 10) as in `_chunks`."""
    count = (len(chunks) + _GROUP - 1) // _GROUP
    groups = np.empty((count, 10), np.float32)
    for g in range(count):
        begin, end = g * _GROUP, min((g + 1) * _GROUP, len(chunks))
        groups[g] = chunks[(begin + end) // 2]
        for c in range(begin, end):
            away = np.float32(0)
            for k in range(3):
                away += (chunks[c, k] - groups[g, k]) ** 2
                groups[g, 4 + k] = min(groups[g, 4 + k], chunks[c, 4 + k])
                groups[g, 7 + k] = max(groups[g, 7 + k], chunks[c, 7 + k])
            groups[g, 3] = max(groups[g, 3], np.sqrt(away) + chunks[c, 3])
    return groups


@njit(cache=True, nogil=True)
def _may_pass(bounds, i, centre, radius):
    """Return whether any ray of chunk or group `i` may pass through a sphere."""
    # Shifting a ray's origin is equivalent to shifting the sphere, so the spread of the origins
    # enlarges the radius.
    reach = radius + bounds[i, 3]
    away, along = -reach * reach, np.float32(0)
    for k in range(3):
        o = centre[k] - bounds[i, k]
        away += o * o
        along += max(o * bounds[i, 4 + k], o * bounds[i, 7 + k])
    # `along` is an upper bound of the centre's projection onto any of the directions. A ray
    # touches the sphere if its projection is at least the length of the tangent, sqrt(away).
    return away <= 0.0 or (along > 0.0 and along * along >= away)


@njit(cache=True, nogil=True)
def _reaching(rays, chunks, groups, distance, track, centre_height, radius, found):
    """Find the rays that may hit a mover's bounding sphere before anything else.

    Args:
        rays: (N, 6) float32 origins and unit directions.
        chunks, groups: bounds of the rays, see `_chunks` and `_groups`.
        distance: (N,) to each ray's nearest hit so far, metres.
        track: (S, 6) the mover's poses over the span of the rays' times.
        centre_height, radius: of the mover's bounding sphere, metres.
        found: (N,) int64 output; its first entries become the ascending indices of these rays.

    Returns:
        The number of rays found.
    """
    first, last = track[0], track[len(track) - 1]
    moved = np.sqrt((last[0] - first[0]) ** 2 + (last[1] - first[1]) ** 2) / 2
    r = np.float32(radius + moved + 0.05)
    cx, cy = np.float32((first[0] + last[0]) / 2), np.float32((first[1] + last[1]) / 2)
    cz = np.float32((first[2] + last[2]) / 2 + centre_height)
    centre = (cx, cy, cz)
    n = 0
    for g in range(len(groups)):
        if not _may_pass(groups, g, centre, r):
            continue
        for c in range(g * _GROUP, min((g + 1) * _GROUP, len(chunks))):
            if not _may_pass(chunks, c, centre, r):
                continue
            for i in range(c * _CHUNK, min((c + 1) * _CHUNK, len(rays))):
                ox, oy, oz = cx - rays[i, 0], cy - rays[i, 1], cz - rays[i, 2]
                along = ox * rays[i, 3] + oy * rays[i, 4] + oz * rays[i, 5]
                if along < -r or along - r > distance[i]:
                    continue
                if ox * ox + oy * oy + oz * oz - along * along < r * r:
                    found[n] = i
                    n += 1
    return n


@njit(cache=True, nogil=True)
def _into_frame(rays, index, distance, times, start, track, box):
    """Transform the rays `index` into a mover's frame at each ray's time, and test its box.

    Returns:
        (M,) int64 indices of the rays that enter the mover's box before their nearest hit so far,
        (M, 6) float32 these rays in its frame, and (M, 2) float64 its yaw and pitch at their
        times, radians.
    """
    entering = np.empty(len(index), np.int64)
    local = np.empty((len(index), 6), np.float32)
    turns = np.empty((len(index), 2))
    n = 0
    latest = np.nan
    for i in index:
        time = times[i if len(times) > 1 else 0]
        if time != latest:
            latest = time
            position = (time - start) / STEP_S
            k = min(max(int(position), 0), len(track) - 2)
            f = position - k
            x = (1 - f) * track[k, 0] + f * track[k + 1, 0]
            y = (1 - f) * track[k, 1] + f * track[k + 1, 1]
            z = (1 - f) * track[k, 2] + f * track[k + 1, 2]
            yaw = (1 - f) * track[k, 3] + f * track[k + 1, 3]
            pitch = (1 - f) * track[k, 4] + f * track[k + 1, 4]
            cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        for part in (0, 3):
            vx = rays[i, part] - (x if part == 0 else 0.0)
            vy = rays[i, part + 1] - (y if part == 0 else 0.0)
            vz = rays[i, part + 2] - (z if part == 0 else 0.0)
            ax, ay = cy * vx + sy * vy, cy * vy - sy * vx
            local[n, part] = cp * ax - sp * vz
            local[n, part + 1] = ay
            local[n, part + 2] = sp * ax + cp * vz
        if _enters(local[n], box, distance[i]):
            entering[n] = i
            turns[n, 0], turns[n, 1] = yaw, pitch
            n += 1
    return entering[:n], local[:n], turns[:n]


@njit(cache=True, nogil=True)
def _enters(ray, box, distance):
    """Return whether a ray intersects a box before `distance` (slab method)."""
    first, last = 0.0, float(distance)
    for k in range(3):
        if abs(ray[3 + k]) < 1e-9:
            if ray[k] < box[0, k] or ray[k] > box[1, k]:
                return False
            continue
        a, b = (box[0, k] - ray[k]) / ray[3 + k], (box[1, k] - ray[k]) / ray[3 + k]
        first, last = max(first, min(a, b)), min(last, max(a, b))
    return first <= last


@njit(cache=True, nogil=True)
def _take_nearer(
    index, turns, distance, instance, material, uv, normal,
    best_distance, best_instance, best_material, best_uv, best_normal,
):  # fmt: skip
    """Replace farther hits by a mover's nearer ones, with normals rotated into the world."""
    for m in range(len(index)):
        i = index[m]
        if distance[m] >= best_distance[i]:
            continue
        best_distance[i] = distance[m]
        best_instance[i] = instance[m]
        best_material[i] = material[m]
        best_uv[i] = uv[m]
        cy, sy = np.cos(turns[m, 0]), np.sin(turns[m, 0])
        cp, sp = np.cos(turns[m, 1]), np.sin(turns[m, 1])
        ax = cp * normal[m, 0] + sp * normal[m, 2]
        ay = normal[m, 1]
        best_normal[i, 0] = cy * ax - sy * ay
        best_normal[i, 1] = sy * ax + cy * ay
        best_normal[i, 2] = cp * normal[m, 2] - sp * normal[m, 0]
