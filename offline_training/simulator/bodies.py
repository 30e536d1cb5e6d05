"""Meshes made ready for ray casting, and what a ray finds on them."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator.between_rays import settle_between, waiting
from offline_training.simulator.meshes import Mesh, merge
from offline_training.simulator.ray_casting import import_open3d


@dataclasses.dataclass
class Hits:
    """The first surface along each of N rays.

    Attributes:
        distance: (N,) float32, metres along the ray; infinite where it meets nothing.
        instance: (N,) uint16, 0 where it meets nothing.
        material: (N,) uint16.
        uv: (N, 2) float32 texture coordinates.
        normal: (N, 3) float32 unit vector in the world, towards the ray's origin.
    """

    distance: NDArray[np.float32]
    instance: NDArray[np.uint16]
    material: NDArray[np.uint16]
    uv: NDArray[np.float32]
    normal: NDArray[np.float32]


@dataclasses.dataclass
class _Met:
    """Which triangle each of N rays meets, as Embree answers.

    Attributes:
        distance: (N,) float32, infinite where it meets none.
        triangle: (N,) uint32, the highest number there is where it meets none.
        weights: (N, 2) float32 barycentric coordinates.
        normal: (N, 3) float32 unit vector of the triangle, to either side.
    """

    distance: NDArray[np.float32]
    triangle: NDArray[np.uint32]
    weights: NDArray[np.float32]
    normal: NDArray[np.float32]


class Body:
    """A rigid set of triangles in its own frame, with Embree's acceleration structure."""

    def __init__(self, meshes: Sequence[Mesh], instances: Sequence[int]) -> None:
        """Join meshes; mesh `i` shows as instance `instances[i]`."""
        o3d = import_open3d()
        joined = merge(meshes)
        counts = [len(mesh.triangles) for mesh in meshes]
        self._triangles = joined.triangles.astype(np.uint32)
        self._uv = joined.uv.astype(np.float32)
        self._material = joined.material.astype(np.uint16)
        self._instance = np.repeat(np.asarray(instances, np.uint16), counts)
        self._tensor = o3d.core.Tensor.from_numpy
        self._scene = o3d.t.geometry.RaycastingScene()
        self._vertices = joined.vertices.astype(np.float32, order='C')
        self._scene.add_triangles(self._tensor(self._vertices), self._tensor(self._triangles))

    def cast(self, rays: NDArray[np.float32], image_shape: tuple[int, int] | None = None) -> Hits:
        """Cast rays.

        Args:
            rays: (N, 6) origin and unit direction in the body's frame.
            image_shape: H, W if these are the pixels of an image in row order, from one origin:
                then fewer than half of them are cast, see `between_rays`.
        """
        met = self._meet(rays) if image_shape is None else self._meet_image(rays, *image_shape)
        hits = Hits(
            met.distance,
            np.empty(len(rays), np.uint16),
            np.empty(len(rays), np.uint16),
            np.empty((len(rays), 2), np.float32),
            met.normal,
        )
        _look_up(
            rays, met.distance, met.triangle, met.weights, self._triangles, self._uv,
            self._material, self._instance, hits.instance, hits.material, hits.uv, hits.normal,
        )  # fmt: skip
        return hits

    def _meet(self, rays: NDArray[np.float32]) -> _Met:
        found = self._scene.cast_rays(self._tensor(rays), nthreads=_threads(len(rays)))
        keys = ('t_hit', 'primitive_ids', 'primitive_uvs', 'primitive_normals')
        return _Met(*(found[key].numpy() for key in keys))

    def _meet_image(self, rays: NDArray[np.float32], height: int, width: int) -> _Met:
        """Cast every fourth pixel of a row, then what these leave open, ever more densely."""
        count = height * width
        met = _Met(
            np.empty(count, np.float32),
            np.empty(count, np.uint32),
            np.empty((count, 2), np.float32),
            np.zeros((count, 3), np.float32),
        )
        known = np.zeros((height, width), bool)
        for spacing in (4, 2, 1):
            index = waiting(known, spacing)
            cast = self._meet(rays[index])
            _put(
                index, cast.distance, cast.triangle, cast.weights, cast.normal,
                known.reshape(-1), met.distance, met.triangle, met.weights, met.normal,
            )  # fmt: skip
            if spacing > 1:
                settle_between(
                    known, spacing, rays, self._vertices, self._triangles,
                    met.distance, met.triangle, met.weights, met.normal,
                )  # fmt: skip
        return met

    def occludes(self, rays: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each (N, 6) ray meets the body at all."""
        found = self._scene.test_occlusions(self._tensor(rays), nthreads=_threads(len(rays)))
        return found.numpy()


def _threads(rays: int) -> int:
    """Return Open3D's thread count: 0 is all, if there are many rays and no other workers."""
    return 0 if rays > 20_000 and multiprocessing.parent_process() is None else 1


@njit(cache=True, nogil=True)
def _put(
    index, cast_distance, cast_triangle, cast_weights, cast_normal,
    known, distance, triangle, weights, normal,
):  # fmt: skip
    """Write what some rays met among all."""
    for m in range(len(index)):
        i = index[m]
        known[i] = True
        distance[i] = cast_distance[m]
        triangle[i] = cast_triangle[m]
        weights[i, 0], weights[i, 1] = cast_weights[m, 0], cast_weights[m, 1]
        for k in range(3):
            normal[i, k] = cast_normal[m, k]


@njit(cache=True, nogil=True)
def _look_up(
    rays, distance, triangle, weights, triangles, vertex_uv, materials, instances,
    instance, material, uv, normal,
):  # fmt: skip
    """Fill in what lies at each hit; turn normals towards the ray's origin."""
    for i in range(len(distance)):
        if distance[i] == np.inf:
            instance[i] = 0
            material[i] = 0
            continue
        t = triangle[i]
        instance[i] = instances[t]
        material[i] = materials[t]
        b, c = weights[i, 0], weights[i, 1]
        a = 1.0 - b - c
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for k in range(2):
            uv[i, k] = a * vertex_uv[i0, k] + b * vertex_uv[i1, k] + c * vertex_uv[i2, k]
        facing = 0.0
        for k in range(3):
            facing += normal[i, k] * rays[i, 3 + k]
        if facing > 0.0:
            for k in range(3):
                normal[i, k] = -normal[i, k]
