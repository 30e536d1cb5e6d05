"""Easily distinguished, equally bright colours for classes that have no name yet."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]  # red, green, blue, 0..255

# This number of colours can be distinguished with any of the three kinds of colour blindness, too.
SAFE_COLOURS = 8
# OKLab lightness, 0 black to 1 white: bright enough on a dark ground, dark enough on a white one.
_LIGHTNESS = (0.62, 0.82)
_LEAST_CHROMA = 0.07
# Minimum distance from colours with a meaning; 0.02 is just noticeable side by side.
_FROM_OTHERS = 0.07
_STEP = 15
# Factor by which distances for the colour-blind may be smaller than for normal vision.
_ALLOWANCE = 1.3

# Linear sRGB to cone responses, and their cube roots to OKLab (B. Ottosson, 2020).
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# What linear sRGB looks like without red, green or blue cones (Machado et al., 2009, severity 1).
_BLIND = np.array(
    [
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)


@functools.lru_cache(maxsize=8)
def distinct_colours(count: int, grey: Colour, others: tuple[Colour, ...]) -> list[Colour]:
    """Return colours, each as far as possible from those before it; a larger count only appends.

    Args:
        count: how many, up to 255.
        grey: a colour that all keep a distance from.
        others: likewise, colours that are already used.
    """
    candidates = _candidates(others)
    seen = appearances(candidates)
    near = _distance(seen, appearances([grey])[:, 0])
    chosen: list[Colour] = []
    while len(chosen) < count:
        safe = len(chosen) < SAFE_COLOURS
        best = int(np.argmax(near.min(axis=0) if safe else near[0]))
        red, green, blue = candidates[best].tolist()
        chosen.append((red, green, blue))
        near = np.minimum(near, _distance(seen, seen[:, best]))
    return chosen


def appearances(colours: Sequence[Colour] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return perceived colours (N, 3) as (4, N, 3) in OKLab.

    First for normal vision, then for people without red, green, or blue cones.
    Euclidean distances are approximately perceived differences.
    """
    rgb = np.asarray(colours, np.float64) / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = [linear, *(np.clip(linear @ lacking.T, 0.0, 1.0) for lacking in _BLIND)]
    return np.cbrt(np.stack(seen) @ _CONES.T) @ _LAB.T


def _candidates(others: tuple[Colour, ...]) -> NDArray[np.uint8]:
    steps = np.arange(0, 256, _STEP, dtype=np.uint8)
    all_colours = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), -1).reshape(-1, 3)
    lab, taken = appearances(all_colours)[0], appearances(others)[0]
    apart = np.linalg.norm(lab[:, None] - taken[None], axis=2).min(axis=1)
    bright = (lab[:, 0] >= _LIGHTNESS[0]) & (lab[:, 0] <= _LIGHTNESS[1])
    colourful = np.hypot(lab[:, 1], lab[:, 2]) > _LEAST_CHROMA
    return all_colours[bright & colourful & (apart > _FROM_OTHERS)]


def _distance(seen: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of one colour from others (4, N), over all kinds of vision."""
    distance = np.linalg.norm(seen - one[:, None], axis=2)
    distance[1:] *= _ALLOWANCE
    return distance
