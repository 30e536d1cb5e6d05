"""Curves as the places of lines and points, for the page's SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Small units, so that the letters are still legible where the screen is narrow.
_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 32
# Points of a drawn curve: more could not be told apart on a page.
_POINTS = 320


def line_chart(curves: Mapping[str, NDArray[np.float64]], x: str, y: str) -> dict[str, Any]:
    """Lay curves out over their index; each is averaged down to what can be seen.

    Args:
        curves: values by name, each (N,) with N > 0.
        x, y: what the axes show.
    """
    longest = max(len(values) for values in curves.values())
    top = max(float(np.nanmax(values)) for values in curves.values()) or 1.0
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / max(longest - 1, 1), _TOP + height * (1 - value / top)

    grid = [
        {
            'x': round(at(share * (longest - 1), 0)[0], 1),
            'y': round(at(0, share * top)[1], 1),
            'value': f'{share * top:.2f}',
            'step': round(share * (longest - 1)),
        }
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    lines = []
    for name, values in curves.items():
        pieces = np.array_split(values, min(_POINTS, len(values)))
        steps = np.linspace(0, len(values) - 1, len(pieces)).tolist()
        points = [at(step, float(piece.mean())) for step, piece in zip(steps, pieces, strict=True)]
        # The mean of its last twentieth.
        end = float(values[-max(len(values) // 20, 1) :].mean())
        text = ' '.join(f'{column:.1f},{row:.1f}' for column, row in points)
        lines.append({'name': name, 'points': text, 'end': end})
    return {
        'x': x,
        'y': y,
        'grid': grid,
        'curves': lines,
        'width': _WIDTH,
        'height': _HEIGHT,
        'left': _LEFT,
        'right': _WIDTH - _RIGHT,
    }
