"""Procedural textures: the colour of a surface at a point.

Patterns fade to their mean if a pixel covers more than their period, so that distant surfaces do
not flicker.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from offline_training.simulator.materials import Pattern

_FAST = {'contract', 'reassoc', 'arcp', 'nsz', 'afn'}  # rounding may differ, never infinities
_PLAIN, _ASPHALT, _ROAD = int(Pattern.PLAIN), int(Pattern.ASPHALT), int(Pattern.ROAD)
_SLABS = int(Pattern.SLABS)
_GRASS, _LEAVES = int(Pattern.GRASS), int(Pattern.LEAVES)
_FACADE, _BRICK_FACADE = int(Pattern.FACADE), int(Pattern.BRICK_FACADE)
_BRICK, _PLANKS, _TILES = int(Pattern.BRICK), int(Pattern.PLANKS), int(Pattern.TILES)
_WALL, _FRAME = 0.0, -1.0  # what a facade is besides glass, which is above 0
_HASH_X, _HASH_Y = 374761393, 668265263
_TWO_TONE, _SIGN, _STRIPES = int(Pattern.TWO_TONE), int(Pattern.SIGN), int(Pattern.STRIPES)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def cell_noise(x, y):
    """Return a number in 0..1 for a whole-numbered cell, the same at every call."""
    return _hashed(np.int32(x) * _HASH_X + np.int32(y) * _HASH_Y) / 65535.0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _hashed(cell):
    """Return a number in 0..65535 for the weighted sum of a cell's coordinates.

    In 32 bits: processors compute more of these at once than of 64.
    """
    h = np.uint32(cell)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    return np.float64(np.int32((h ^ (h >> np.uint32(16))) & np.uint32(0xFFFF)))


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def value_noise(x, y):
    """Return smooth noise in 0..1 that changes over a length of one."""
    ix, iy = np.floor(x), np.floor(y)
    fx, fy = x - ix, y - iy
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    cell = np.int32(ix) * _HASH_X + np.int32(iy) * _HASH_Y
    near, right = _hashed(cell), _hashed(cell + _HASH_X)
    above, across = _hashed(cell + _HASH_Y), _hashed(cell + _HASH_X + _HASH_Y)
    low, high = near + (right - near) * fx, above + (across - above) * fx
    return (low + (high - low) * fy) / 65535.0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _inside(x, low, high, blur):
    """Return how much of a pixel `blur` wide at x lies between two edges, 0..1."""
    blur = max(blur, 1e-3)
    left = min(max((x - low) / blur + 0.5, 0.0), 1.0)
    right = min(max((high - x) / blur + 0.5, 0.0), 1.0)
    return left * right if high - low > blur else min(left, right) * (high - low) / blur


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
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
        return _inside(v - np.floor(v), 0.25, 0.75, blur) * _inside(u, 0.3, 2.9, blur)
    if u < 5.0:  # stop line of those who drive in
        return _inside(u, 3.5, 3.95, blur) if 0.15 < v < lane_edge - 0.1 else 0.0
    paint = 0.0
    if across < 0.3:
        whole = 1.0 if u < 16.0 else _inside(u - 6.0 * np.floor(u / 6.0), 0.5, 3.5, blur)
        paint = _inside(v, -0.07, 0.07, blur) * whole
    elif parking > 0.0 and abs(across - lane_edge) < 0.3:
        paint = _inside(across, lane_edge - 0.05, lane_edge + 0.05, blur)
    elif parking == 0.0 and abs(across - half + 0.3) < 0.3:
        paint = _inside(across, half - 0.36, half - 0.26, blur)
    return paint


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _window(u, v, pitch, floor):
    """Return what a facade is at a point: wall, frame, or the grey of a pane's glass."""
    column, level = np.floor(u / pitch), np.floor(v / floor)
    x, y = u - column * pitch, v - level * floor
    low, high = (0.9, floor - 0.55) if level > 0 else (1.0, floor - 0.7)
    left, right = 0.24 * pitch, 0.76 * pitch
    # How far the point is within the window; the frame has a bar in the middle.
    within = min(min(x - left, right - x), min(y - low, high - y))
    if v < 0.0 or within < 0.0:
        return _WALL
    if within < 0.07 or abs(x - 0.5 * pitch) < 0.03:
        return _FRAME
    # Panes mirror the sky; some have curtains.
    pane = cell_noise(column + 17.0, level + 31.0)
    return 0.02 + 0.03 * pane + (0.28 if pane > 0.72 else 0.0)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _odd(whole):
    """Return 1 for an odd whole number and 0 for an even one."""
    return whole - 2.0 * np.floor(0.5 * whole)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _paint(u, v, half, parking, px, py, blur):
    """Return how much of a road's surface is paint, worn as it may be; see `_markings`."""
    share = _markings(u, v, half, parking, blur)
    if share > 0.0:
        worn = 0.7 + 0.6 * (value_noise(px * 2.5, py * 2.5) - 0.3)
        share *= min(max(worn, 0.3), 1.0)
    return share


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _bricks(u, v, blur):
    """Return the brightness of brickwork, 24 by 7.5 cm."""
    visible = min(max(1.5 - blur / 0.04, 0.0), 1.0)
    row = np.floor(v / 0.075)
    along = u / 0.24 + 0.5 * _odd(row)
    column = np.floor(along)
    if along - column < 0.045 or v / 0.075 - row < 0.13:
        tone = 1.6
    else:
        tone = 0.8 + 0.4 * cell_noise(column, row)
    return visible * tone + (1.0 - visible) * 1.05


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _fine(blur):
    """Return the visibility of details of 2 cm: 1 up close, 0 from afar."""
    return min(max(1.5 - blur / 0.03, 0.0), 1.0)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _patches(px, py):
    """Return the share of an asphalt's second colour."""
    return value_noise(px * 0.13, py * 0.13) * 0.6 + value_noise(px * 0.6, py * 0.6) * 0.4


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _asphalt(patches, px, py, blur):
    """Return the brightness of asphalt."""
    grain = value_noise(px * 45.0, py * 45.0) - 0.5
    return 0.85 + 0.3 * patches + 0.35 * _fine(blur) * grain


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _wear(v, px, py, blur, paint):
    """Return how much wheels, cracks and newer patches darken a road."""
    wheels = (abs(abs(v) - 1.65) - 0.8) / 0.35
    shade = 1.0 - 0.12 * max(1.0 - wheels * wheels / 8.0, 0.0) ** 8
    if blur < 0.05 and abs(value_noise(px * 0.5 + 9.0, py * 0.5) - 0.5) < 0.006:
        shade *= 0.6
    if paint == 0.0 and cell_noise(np.floor(px / 7.0), np.floor(py / 4.0)) > 0.9:
        shade *= 0.75
    return shade


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _leaves_mix(px, py, pz, blur):
    """Return the share of leaves of the second colour."""
    coarse = value_noise(px * 2.3 + pz * 1.9, py * 2.3 - pz * 1.7)
    single = value_noise(px * 11.0 + pz * 7.0, py * 11.0 - pz * 9.0)
    return 0.5 * coarse + 0.5 * min(max(1.5 - blur / 0.25, 0.0), 1.0) * single


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _leaves(px, py, pz, blur):
    """Return the brightness of leaves."""
    shade = 0.75 + 0.5 * value_noise(px * 5.0 - pz * 4.0, py * 5.0 + pz * 6.0)
    near = min(max(1.5 - blur / 0.06, 0.0), 1.0)
    leaf = value_noise(px * 23.0 + pz * 15.0, py * 23.0 - pz * 17.0) - 0.5
    return shade * (1.0 + 0.9 * leaf * near)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _wall(v, px, py, pz):
    """Return the brightness of a wall, with dirt splashed at its foot."""
    dirt = 0.18 * min(max(1.0 - v / 4.0, 0.0), 1.0) ** 8
    return (0.86 + 0.28 * value_noise(px * 0.5 + pz * 0.3, py * 0.5 - pz * 0.2)) * (1.0 - dirt)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _plaster(u, v, blur):
    """Return the brightness of plaster's grain."""
    return 1.0 + 0.12 * _fine(blur) * (value_noise(u * 30.0, v * 30.0) - 0.5)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _rare(pattern, size, second_size, u, v, px, py, blur):
    """Evaluate a pattern that few pixels see, as `surfaces` does."""
    mix = 0.0
    shade = 1.0
    fine = _fine(blur)
    middle = min(max(1.5 - blur / 0.25, 0.0), 1.0)
    if pattern == _SLABS:
        row = np.floor(py / second_size)
        along = px / size + 0.5 * _odd(row)
        column = np.floor(along)
        mix = cell_noise(column, row) * middle + 0.5 * (1 - middle)
        joint = 0.012
        if (along - column) * size < joint or py - row * second_size < joint:
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
    elif pattern == _BRICK:
        shade = _bricks(u, v, blur) * (0.85 + 0.3 * value_noise(u, v))
    elif pattern == _PLANKS:
        plank = np.floor(u / size)
        mix = 0.8 * _inside(u - plank * size, 0.0, 0.015, blur)
        shade = 0.8 + 0.4 * cell_noise(plank, 5.0) * middle + 0.2 * (1 - middle)
        if fine > 0.0:
            shade *= 1.0 + 0.25 * fine * (value_noise(u * 50.0, v * 4.0) - 0.5)
    elif pattern == _TILES:
        row = np.floor(v / size)
        column = np.floor(u / second_size + 0.5 * _odd(row))
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
            white = (radius > 0.86 and radius < 0.93) or (abs(v) < 0.06 and abs(u) < 0.24)
            if white:
                return 1.0, 0.0, 0.75
        else:  # warning: yellow triangle with a dark rim
            mix = 1.0 if radius < 0.62 and (abs(u) > 0.03 or v > 0.12) else 0.0
    elif pattern == _STRIPES:
        mix = 1.0 - _odd(np.floor((u + v) / size))
        if blur > size:
            mix = 0.5
    return shade, mix, 0.0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def infrared_at(pattern, size, second_size, infrared, u, v, px, py):
    """Return the reflectance at the LiDAR's wavelength, which sees paint on roads, and panes."""
    if pattern == _ROAD:
        return infrared + 0.75 * _paint(u, v, size, second_size, px, py, 0.05)
    if pattern in (_FACADE, _BRICK_FACADE):
        return 0.06 if _window(u, v, size, second_size) > 0.0 else infrared
    return infrared


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def surfaces(pattern, size, second_size, u, v, px, py, pz, blur):
    """Evaluate a pattern at points.

    The frequent ones have loops of their own, one for each array that they fill: only such simple
    ones does the compiler turn into vector instructions.

    Args:
        pattern: one of `Pattern`.
        size, second_size: (N,) the materials' measures.
        u, v: (N,) texture coordinates.
        px, py, pz: (N,) positions in the world.
        blur: (N,) widths of a pixel on the surface, metres.

    Returns:
        (N,) arrays: brightness; share of the second colour; where above 0, a grey that is seen
        instead of the material's colours.
    """
    n = len(u)
    shade = np.empty(n, np.float32)
    mix, grey = np.zeros(n, np.float32), np.zeros(n, np.float32)
    if pattern == _ASPHALT:
        for i in range(n):
            mix[i] = _patches(px[i], py[i])
        for i in range(n):
            shade[i] = _asphalt(mix[i], px[i], py[i], blur[i])
    elif pattern == _ROAD:
        for i in range(n):
            mix[i] = _paint(u[i], v[i], size[i], second_size[i], px[i], py[i], blur[i])
        for i in range(n):
            shade[i] = _asphalt(_patches(px[i], py[i]), px[i], py[i], blur[i])
        for i in range(n):
            shade[i] *= _wear(v[i], px[i], py[i], blur[i], mix[i])
    elif pattern == _LEAVES:
        for i in range(n):
            mix[i] = _leaves_mix(px[i], py[i], pz[i], blur[i])
        for i in range(n):
            shade[i] = _leaves(px[i], py[i], pz[i], blur[i])
    elif pattern in (_FACADE, _BRICK_FACADE):
        for i in range(n):
            grey[i] = _window(u[i], v[i], size[i], second_size[i])
        for i in range(n):
            mix[i] = 1.0 if grey[i] == _FRAME else 0.0
        for i in range(n):
            shade[i] = 1.0 if grey[i] == _FRAME else _wall(v[i], px[i], py[i], pz[i])
        if pattern == _BRICK_FACADE:
            for i in range(n):
                shade[i] *= 1.0 if grey[i] == _FRAME else _bricks(u[i], v[i], blur[i])
        else:
            for i in range(n):
                shade[i] *= 1.0 if grey[i] == _FRAME else _plaster(u[i], v[i], blur[i])
    elif pattern == _PLAIN:
        for i in range(n):
            shade[i] = 0.96 + 0.08 * value_noise(px[i] * 1.5 + pz[i], py[i] * 1.5 - pz[i])
    else:
        for i in range(n):
            shade[i], mix[i], grey[i] = _rare(
                pattern, size[i], second_size[i], u[i], v[i], px[i], py[i], blur[i]
            )
    return shade, mix, grey
