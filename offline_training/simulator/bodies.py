"""Meshes prepared for ray casting, and the hits of rays on them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator.between_rays import UNKNOWN, settle_between, texture_at, waiting
from offline_training.simulator.meshes import Mesh, merge

if TYPE_CHECKING:
    from offline_training.simulator.ray_casting import TriangleScene

_SPACINGS = (4, 2, 1)  # px between the pixels that are cast, in successive passes


@dataclasses.dataclass
class Hits:
    """The first surface along each of N rays.

    Attributes:
        distance: (N,) float32, metres along the ray; infinite without a hit.
        instance: (N,) uint16 instance id, 0 without a hit.
        material: (N,) uint16 material index, 0 without a hit.
        uv: (N, 2) float32 texture coordinates, undefined without a hit.
        normal: (N, 3) float32 unit vector in the frame of the rays, on the side of the ray's
            origin; 0 without a hit.
    """

    distance: NDArray[np.float32]
    instance: NDArray[np.uint16]
    material: NDArray[np.uint16]
    uv: NDArray[np.float32]
    normal: NDArray[np.float32]


class Body:
    """A rigid set of triangles in its own frame; prepared for ray casting when first used."""

    def __init__(self, meshes: Sequence[Mesh], instances: Sequence[int]) -> None:
        """Join meshes; hits on mesh `i` have the instance id `instances[i]`."""
        joined = merge(meshes)
        counts = [len(mesh.triangles) for mesh in meshes]
        self._triangles = joined.triangles.astype(np.uint32)
        self._uv = joined.uv.astype(np.float32)
        self._material = joined.material.astype(np.uint16)
        self._instance = np.repeat(np.asarray(instances, np.uint16), counts)
        self._vertices = joined.vertices.astype(np.float32, order='C')

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the structures for ray casting."""
        made = ('_scene', '_corners')
        return {name: value for name, value in vars(self).items() if name not in made}

    @functools.cached_property
    def _scene(self) -> TriangleScene:
        # Open3D takes half a second to import, and is not needed to build a town.
        from offline_training.simulator.ray_casting import TriangleScene

        return TriangleScene(self._vertices, self._triangles)

    @functools.cached_property
    def _corners(self) -> NDArray[np.float32]:
        """x, y, z, u, v of each triangle's corners, (T, 3, 5) float32."""
        return np.concatenate([self._vertices, self._uv], axis=1)[self._triangles]

    def cast(self, rays: NDArray[np.float32], image_shape: tuple[int, int] | None = None) -> Hits:
        """Return the first hit of each ray.

        Args:
            rays: (N, 6) float32 origins and unit directions in the body's frame.
            image_shape: H, W if these are the pixels of an image in row order, from one origin.
                Then typically fewer than half of them are cast, see `between_rays`.
        """
        count = len(rays)
        hits = Hits(
            np.empty(count, np.float32),
            np.empty(count, np.uint16),
            np.empty(count, np.uint16),
            np.empty((count, 2), np.float32),
            np.empty((count, 3), np.float32),
        )
        triangle = np.full(count, UNKNOWN)
        out = triangle, hits.distance, hits.instance, hits.material, hits.uv, hits.normal
        if image_shape is None:
            self._cast_some(np.arange(count), rays, out)
            return hits
        for spacing in _SPACINGS:
            index = waiting(triangle, *image_shape, spacing)
            self._cast_some(index, rays[index], out)
            if spacing > 1:
                settle_between(*image_shape, spacing, rays, self._corners, *out)
        return hits

    def _cast_some(
        self, index: NDArray[np.int64], rays: NDArray[np.float32], out: tuple[NDArray[Any], ...]
    ) -> None:
        """Cast (M, 6) rays and write their hits to the entries `index` of the arrays `out`."""
        met = self._scene.meet(rays)
        _put(
            index, rays, met.distance, met.triangle, met.weights, met.normal,
            self._corners, self._instance, self._material, *out,
        )  # fmt: skip

    def occludes(self, rays: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each of (N, 6) rays hits the body, (N,) bool."""
        return self._scene.occludes(rays)


@njit(cache=True, nogil=True)
def _put(
    index, rays, met_distance, met_triangle, weights, met_normal,
    corners, instances, materials,
    triangle, distance, instance, material, uv, normal,
):  # fmt: skip
    """Write hits to the entries `index`, with normals flipped to the side of the ray's origin."""
    for m in range(len(index)):
        i, t = index[m], met_triangle[m]
        triangle[i], distance[i] = t, met_distance[m]
        if distance[i] == np.inf:
            instance[i] = material[i] = 0
            normal[i, 0] = normal[i, 1] = normal[i, 2] = 0.0
            continue
        instance[i], material[i] = instances[t], materials[t]
        uv[i, 0], uv[i, 1] = texture_at(corners[t], weights[m, 0], weights[m, 1])
        facing = np.float32(0)
        for k in range(3):
            facing += met_normal[m, k] * rays[m, 3 + k]
        for k in range(3):
            normal[i, k] = -met_normal[m, k] if facing > 0 else met_normal[m, k]
