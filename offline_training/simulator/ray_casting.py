"""Open3D without the web server and notebook that its import brings along."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

_PLOTLY = 'open3d.visualization.draw_plotly'


def import_open3d() -> Any:
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
