"""Ray casting against triangle meshes with Open3D (Embree).

Importing this module imports Open3D, but not its plotting dependencies plotly and dash.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PLOTLY = 'open3d.visualization.draw_plotly'


def _import_open3d() -> Any:
    """Import `open3d` such that its plotting functions load plotly and dash on first use.

    Three plotting functions import dash (with flask, IPython and pydantic), which takes half of
    the import time. A stand-in module defers that import until one of them is called.
    """
    if 'open3d' in sys.modules or _PLOTLY in sys.modules:
        return importlib.import_module('open3d')
    stand_in = types.ModuleType(_PLOTLY)
    for name in ('get_plotly_fig', 'draw_plotly', 'draw_plotly_server'):
        setattr(stand_in, name, _loaded_when_called(name))
    sys.modules[_PLOTLY] = stand_in
    try:
        return importlib.import_module('open3d')
    finally:
        del sys.modules[_PLOTLY]


def _loaded_when_called(name: str) -> Callable[..., Any]:
    def plot(*arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(_PLOTLY), name)(*arguments, **options)

    return plot


open3d = _import_open3d()


class Met(NamedTuple):
    """The first triangle that each of N rays hits.

    Attributes:
        distance: (N,) float32 distance along the ray, metres; infinite without a hit.
        triangle: (N,) uint32 triangle index; 0xFFFFFFFF without a hit.
        weights: (N, 2) float32 barycentric weights of the second and third vertex.
        normal: (N, 3) float32 unit normal, on either side of the triangle; 0 without a hit.
    """

    distance: NDArray[np.float32]
    triangle: NDArray[np.uint32]
    weights: NDArray[np.float32]
    normal: NDArray[np.float32]


class TriangleScene:
    """A triangle mesh with Embree's acceleration structure."""

    def __init__(self, vertices: NDArray[np.float32], triangles: NDArray[np.uint32]) -> None:
        """Build the structure from (V, 3) vertices and (T, 3) vertex indices."""
        self._scene = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(_tensor(vertices), _tensor(triangles))

    def meet(self, rays: NDArray[np.float32]) -> Met:
        """Return the first hit of each ray, given as (N, 6) origins and unit directions."""
        found = self._scene.cast_rays(_tensor(rays), nthreads=_threads(len(rays)))
        keys = ('t_hit', 'primitive_ids', 'primitive_uvs', 'primitive_normals')
        return Met(*(found[key].numpy() for key in keys))

    def occludes(self, rays: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each of (N, 6) rays hits any triangle, (N,) bool."""
        found = self._scene.test_occlusions(_tensor(rays), nthreads=_threads(len(rays)))
        return found.numpy()


def _tensor(array: NDArray[Any]) -> Any:
    return open3d.core.Tensor.from_numpy(array)


def _threads(rays: int) -> int:
    """Return the thread count for Open3D: 0 (all) for many rays in a main process, else 1."""
    return 0 if rays > 20_000 and multiprocessing.parent_process() is None else 1
