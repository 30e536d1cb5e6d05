"""Procedural textures: what colour a surface has at a point of it.

Patterns fade to their mean where a pixel covers more than they repeat in, so that far surfaces do
not flicker.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from offline_training.simulator.materials import Pattern

_FAST = {'contract', 'reassoc', 'arcp', 'nsz', 'afn'}  # rounding may differ, never infinities
_ASPHALT, _ROAD, _SLABS = int(Pattern.ASPHALT), int(Pattern.ROAD), int(Pattern.SLABS)
_GRASS, _LEAVES = int(Pattern.GRASS), int(Pattern.LEAVES)
_FACADE, _BRICK_FACADE = int(Pattern.FACADE), int(Pattern.BRICK_FACADE)
_BRICK, _PLANKS, _TILES = int(Pattern.BRICK), int(Pattern.PLANKS), int(Pattern.TILES)
_HASH_X, _HASH_Y = 374761393, 668265263
_TWO_TONE, _SIGN, _STRIPES = int(Pattern.TWO_TONE), int(Pattern.SIGN), int(Pattern.STRIPES)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def cell_noise(x, y):
    """Return a number in 0..1 for a whole-numbered cell, the same at every call."""
    return _hashed(int(x) * _HASH_X + int(y) * _HASH_Y)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _hashed(cell):
    """Return a number in 0..1 for the weighted sum of a cell's coordinates."""
    h = cell & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def value_noise(x, y):
    """Return smooth noise in 0..1 that changes over a length of one."""
    ix, iy = np.floor(x), np.floor(y)
    fx, fy = x - ix, y - iy
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    cell = int(ix) * _HASH_X + int(iy) * _HASH_Y
    low = _hashed(cell) * (1 - fx) + _hashed(cell + _HASH_X) * fx
    high = _hashed(cell + _HASH_Y) * (1 - fx) + _hashed(cell + _HASH_X + _HASH_Y) * fx
    return low * (1 - fy) + high * fy


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _inside(x, low, high, blur):
    """Return how much of a pixel `blur` wide at x lies between two edges, 0..1."""
    blur = max(blur, 1e-3)
    left = min(max((x - low) / blur + 0.5, 0.0), 1.0)
    right = min(max((high - x) / blur + 0.5, 0.0), 1.0)
    return left * right if high - low > blur else min(left, right) * (high - low) / blur


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _markings(u, v, half, parking, blur):
    """Return how much of a road's surface is paint.

    Args:
        u: metres from the intersection.
        v: metres right of the middle for who drives towards it.
        half, parking: half the road's and the parking lane's width.
        blur: width of a pixel on the surface.
    """
    across = abs(v)
    lane_edge = half - parking
    if u < 0.0:
        return 0.0
    if u < 3.2:  # zebra crossing
        if across > half - 0.3:
            return 0.0
        return _inside(v % 1.0, 0.25, 0.75, blur) * _inside(u, 0.3, 2.9, blur)
    if u < 5.0:  # stop line of those who drive in
        return _inside(u, 3.5, 3.95, blur) if 0.15 < v < lane_edge - 0.1 else 0.0
    paint = 0.0
    if across < 0.3:
        whole = 1.0 if u < 16.0 else _inside(u % 6.0, 0.5, 3.5, blur)
        paint = _inside(v, -0.07, 0.07, blur) * whole
    elif parking > 0.0 and abs(across - lane_edge) < 0.3:
        paint = _inside(across, lane_edge - 0.05, lane_edge + 0.05, blur)
    elif parking == 0.0 and abs(across - half + 0.3) < 0.3:
        paint = _inside(across, half - 0.36, half - 0.26, blur)
    return paint


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _window(u, v, pitch, floor):
    """Return what a facade is at a point: 0 wall, 1 frame, 2 glass; and the pane's number."""
    column, level = np.floor(u / pitch), np.floor(v / floor)
    x, y = u - column * pitch, v - level * floor
    low, high = (0.9, floor - 0.55) if level > 0 else (1.0, floor - 0.7)
    left, right = 0.24 * pitch, 0.76 * pitch
    if v < 0.0 or x < left or x > right or y < low or y > high:
        return 0, 0.0
    number = cell_noise(column + 17.0, level + 31.0)
    bar = 0.07
    if x < left + bar or x > right - bar or y < low + bar or y > high - bar:
        return 1, number
    if abs(x - (left + right) / 2) < 0.03:
        return 1, number
    return 2, number


@njit(cache=True, nogil=True)
def has_uneven_infrared(pattern):
    """Return whether the LiDAR sees a pattern: paint on a road, panes in a facade."""
    return pattern in (_ROAD, _FACADE, _BRICK_FACADE)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def surface(m, patterns, colours, sizes, infrareds, glosses, u, v, px, py, pz, blur, out):
    """Evaluate a material at a point.

    Args:
        m: the material's number.
        patterns, colours, sizes, infrareds, glosses: of all materials, see `MaterialTable`.
        u, v: texture coordinates.
        px, py, pz: position in the world.
        blur: width of a pixel on the surface, metres.
        out: (5,) receives red, green, blue, infrared reflectance, gloss.
    """
    pattern = patterns[m]
    size, second_size = sizes[m, 0], sizes[m, 1]
    infrared = infrareds[m]
    mix = 0.0  # share of the second colour
    shade = 1.0
    out[3], out[4] = infrared, glosses[m]
    fine = min(max(1.5 - blur / 0.03, 0.0), 1.0)  # details of 2 cm are seen up close only
    middle = min(max(1.5 - blur / 0.25, 0.0), 1.0)
    if pattern in (_ASPHALT, _ROAD):
        large = value_noise(px * 0.13, py * 0.13) * 0.6 + value_noise(px * 0.6, py * 0.6) * 0.4
        shade = 0.85 + 0.3 * large
        if fine > 0.0:
            shade += 0.35 * fine * (value_noise(px * 45.0, py * 45.0) - 0.5)
        if pattern == _ASPHALT:
            mix = large
        else:
            mix = _markings(u, v, size, second_size, blur)
            if mix > 0.0:
                worn = 0.7 + 0.6 * (value_noise(px * 2.5, py * 2.5) - 0.3)
                mix *= min(max(worn, 0.3), 1.0)
            wheels = np.exp(-(((abs(abs(v) - 1.65) - 0.8) / 0.35) ** 2))
            shade *= 1.0 - 0.12 * wheels
            out[3] = infrared + 0.75 * mix
            if blur < 0.05 and abs(value_noise(px * 0.5 + 9.0, py * 0.5) - 0.5) < 0.006:
                shade *= 0.6  # a crack
            # Patches of newer asphalt.
            if cell_noise(np.floor(px / 7.0), np.floor(py / 4.0)) > 0.9 and mix == 0.0:
                shade *= 0.75
    elif pattern == _SLABS:
        row = np.floor(py / second_size)
        column = np.floor(px / size + 0.5 * (row % 2))
        mix = cell_noise(column, row) * middle + 0.5 * (1 - middle)
        x = px / size + 0.5 * (row % 2) - column
        y = py / second_size - row
        joint = 0.012
        if x * size < joint or y * second_size < joint:
            shade = 1.0 - 0.45 * min(max(1.5 - blur / 0.04, 0.0), 1.0)
        shade *= 0.9 + 0.2 * value_noise(px * 0.7, py * 0.7)
        if fine > 0.0:
            shade *= 1.0 + 0.2 * fine * (value_noise(px * 40.0, py * 40.0) - 0.5)
    elif pattern == _GRASS:
        mix = 0.6 * value_noise(px * 0.35, py * 0.35) + 0.4 * value_noise(px * 2.1, py * 2.1)
        if fine > 0.0:
            shade = 1.0 + 0.7 * fine * (value_noise(px * 30.0, py * 30.0) - 0.5)
        if middle > 0.0:
            shade *= 1.0 + 0.5 * middle * (value_noise(px * 6.0, py * 6.0) - 0.5)
    elif pattern == _LEAVES:
        mix = 0.5 * value_noise(px * 2.3 + pz * 1.9, py * 2.3 - pz * 1.7)
        if middle > 0.0:
            mix += 0.5 * middle * value_noise(px * 11.0 + pz * 7.0, py * 11.0 - pz * 9.0)
        shade = 0.75 + 0.5 * value_noise(px * 5.0 - pz * 4.0, py * 5.0 + pz * 6.0)
        near = min(max(1.5 - blur / 0.06, 0.0), 1.0)
        if near > 0.0:
            leaf = value_noise(px * 23.0 + pz * 15.0, py * 23.0 - pz * 17.0) - 0.5
            shade *= 1.0 + 0.9 * leaf * near
    elif pattern in (_FACADE, _BRICK_FACADE):
        kind, pane = _window(u, v, size, second_size)
        if kind == 2:
            # Panes mirror the sky; some have curtains.
            curtain = 1.0 if pane > 0.72 else 0.0
            base = 0.02 + 0.03 * pane + 0.28 * curtain
            out[0], out[1], out[2] = base, base * 1.05, base * 1.12
            out[3], out[4] = 0.06, 0.35
            return
        if kind == 1:
            mix = 1.0
        else:
            shade = 0.86 + 0.28 * value_noise(px * 0.5 + pz * 0.3, py * 0.5 - pz * 0.2)
            shade *= 1.0 - 0.18 * np.exp(-max(v, 0.0) / 0.5)  # splashed dirt at the foot
            if pattern == _BRICK_FACADE:
                shade *= _bricks(u, v, blur)
            elif fine > 0.0:
                shade *= 1.0 + 0.12 * fine * (value_noise(u * 30.0, v * 30.0) - 0.5)
    elif pattern == _BRICK:
        shade = _bricks(u, v, blur) * (0.85 + 0.3 * value_noise(u, v))
    elif pattern == _PLANKS:
        x = u % size
        mix = 0.8 * _inside(x, 0.0, 0.015, blur)
        shade = 0.8 + 0.4 * cell_noise(np.floor(u / size), 5.0) * middle + 0.2 * (1 - middle)
        if fine > 0.0:
            shade *= 1.0 + 0.25 * fine * (value_noise(u * 50.0, v * 4.0) - 0.5)
    elif pattern == _TILES:
        row = np.floor(v / size)
        column = np.floor(u / second_size + 0.5 * (row % 2))
        mix = middle * cell_noise(column, row) + 0.5 * (1 - middle)
        shade = 1.0 - 0.35 * middle * (1.0 - (v / size - row))
    elif pattern == _TWO_TONE:
        mix = 0.0 if v < size else 1.0
        shade = 0.9 + 0.2 * value_noise(u * 0.8, v * 0.8)
    elif pattern == _SIGN:
        radius = np.sqrt(u * u + v * v) / size
        kind = int(second_size)
        if kind == 0:  # prohibition: white disc, red rim, black bar
            mix = 1.0 if radius < 0.75 else 0.0
            if abs(v) < 0.06 and abs(u) < 0.2:
                shade = 0.08
        elif kind == 1:  # blue board with a white arrow
            mix = 1.0 if abs(u) < 0.05 and abs(v) < 0.18 else 0.0
        elif kind == 2:  # stop: red, white letters as a bar
            out[0], out[1], out[2] = colours[m, 0], colours[m, 1], colours[m, 2]
            if (radius > 0.86 and radius < 0.93) or (abs(v) < 0.06 and abs(u) < 0.24):
                out[0], out[1], out[2] = 0.75, 0.75, 0.75
            return
        else:  # warning: yellow triangle with a dark rim
            mix = 1.0 if radius < 0.62 and (abs(u) > 0.03 or v > 0.12) else 0.0
    elif pattern == _STRIPES:
        mix = 1.0 if ((u + v) / size) % 2.0 < 1.0 else 0.0
        if blur > size:
            mix = 0.5
    else:
        shade = 0.96 + 0.08 * value_noise(px * 1.5 + pz, py * 1.5 - pz)
    for k in range(3):
        out[k] = shade * ((1.0 - mix) * colours[m, k] + mix * colours[m, 3 + k])


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _bricks(u, v, blur):
    """Return the brightness of brickwork, 24 by 7.5 cm."""
    visible = min(max(1.5 - blur / 0.04, 0.0), 1.0)
    row = np.floor(v / 0.075)
    column = np.floor(u / 0.24 + 0.5 * (row % 2))
    x, y = u / 0.24 + 0.5 * (row % 2) - column, v / 0.075 - row
    tone = 0.8 + 0.4 * cell_noise(column, row)
    if x < 0.045 or y < 0.13:
        tone = 1.6
    return visible * tone + (1.0 - visible) * 1.05
