"""Rays and triangles, by Open3D.

Importing this module imports Open3D, without the web server and notebook that it brings along.
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
    """Return the module `open3d`, whose plots load plotly and dash on first use.

    Open3D imports dash (flask, IPython, pydantic) for three plotting functions: half of its
    import's time. They stay as they are, but load when called.
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
    """Which triangle each of N rays meets first.

    Attributes:
        distance: (N,) float32, infinite where it meets none.
        triangle: (N,) uint32, the highest number there is where it meets none.
        weights: (N, 2) float32 barycentric coordinates.
        normal: (N, 3) float32 unit vector of the triangle, to either side; 0 where it meets none.
    """

    distance: NDArray[np.float32]
    triangle: NDArray[np.uint32]
    weights: NDArray[np.float32]
    normal: NDArray[np.float32]


class TriangleScene:
    """Triangles, and Embree's acceleration structure over them."""

    def __init__(self, vertices: NDArray[np.float32], triangles: NDArray[np.uint32]) -> None:
        """Take (V, 3) vertices and (T, 3) indices of them."""
        self._scene = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(_tensor(vertices), _tensor(triangles))

    def meet(self, rays: NDArray[np.float32]) -> Met:
        """Find what each of (N, 6) origins and unit directions meets."""
        found = self._scene.cast_rays(_tensor(rays), nthreads=_threads(len(rays)))
        keys = ('t_hit', 'primitive_ids', 'primitive_uvs', 'primitive_normals')
        return Met(*(found[key].numpy() for key in keys))

    def occludes(self, rays: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each of (N, 6) rays meets anything."""
        found = self._scene.test_occlusions(_tensor(rays), nthreads=_threads(len(rays)))
        return found.numpy()


def _tensor(array: NDArray[Any]) -> Any:
    return open3d.core.Tensor.from_numpy(array)


def _threads(rays: int) -> int:
    """Return Open3D's thread count: 0 is all, if there are many rays and no other workers."""
    return 0 if rays > 20_000 and multiprocessing.parent_process() is None else 1
