"""Procedural textures: the colour of a surface at a point.

Most patterns fade to their mean where a pixel covers more than their period, against aliasing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from offline_training.simulator.materials import Pattern

_FAST = {'contract', 'reassoc', 'arcp', 'nsz', 'afn'}  # all fast-math flags but `nnan` and `ninf`
_PLAIN, _ASPHALT, _ROAD = int(Pattern.PLAIN), int(Pattern.ASPHALT), int(Pattern.ROAD)
_SLABS = int(Pattern.SLABS)
_GRASS, _LEAVES = int(Pattern.GRASS), int(Pattern.LEAVES)
_FACADE, _BRICK_FACADE = int(Pattern.FACADE), int(Pattern.BRICK_FACADE)
_BRICK, _PLANKS, _TILES = int(Pattern.BRICK), int(Pattern.PLANKS), int(Pattern.TILES)
_WALL, _FRAME = 0.0, -1.0  # values of `_window` other than the grey of glass, which is above 0
_HASH_X, _HASH_Y = 374761393, 668265263
_TWO_TONE, _SIGN, _STRIPES = int(Pattern.TWO_TONE), int(Pattern.SIGN), int(Pattern.STRIPES)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def cell_noise(x, y):
    """Return a pseudo-random number in 0..1 determined by the integer cell (x, y)."""
    return _hashed(np.int32(x) * _HASH_X + np.int32(y) * _HASH_Y) / 65535.0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _hashed(cell):
    """Return the hash, in 0..65535, of the weighted sum of a cell's coordinates.

    Computed in 32 bits, because a SIMD register holds twice as many of these as of 64 bits.
    """
    h = np.uint32(cell)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    return np.float64(np.int32((h ^ (h >> np.uint32(16))) & np.uint32(0xFFFF)))


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def value_noise(x, y):
    """Return value noise in 0..1: random values on the integer grid, smoothly interpolated."""
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
    """Return the fraction, 0..1, of a pixel of width `blur` at x between two edges."""
    blur = max(blur, 1e-3)
    left = min(max((x - low) / blur + 0.5, 0.0), 1.0)
    right = min(max((high - x) / blur + 0.5, 0.0), 1.0)
    return left * right if high - low > blur else min(left, right) * (high - low) / blur


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _markings(u, v, half, parking, blur):
    """Return the fraction, 0..1, of a pixel on a road that is covered by markings.

    Args:
        u: distance from the intersection, metres.
        v: distance from the centre line, positive to the right of traffic that approaches the
            intersection, metres.
        half, parking: half the road's width, and the width of a parking lane, metres.
        blur: width of a pixel on the surface, metres.
    """
    across = abs(v)
    lane_edge = half - parking
    if u < 0.0:
        return 0.0
    if u < 3.2:  # zebra crossing
        if across > half - 0.3:
            return 0.0
        return _inside(v - np.floor(v), 0.25, 0.75, blur) * _inside(u, 0.3, 2.9, blur)
    if u < 5.0:  # stop line of traffic that approaches the intersection
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
    """Return `_WALL`, `_FRAME`, or the grey of the glass (above 0) at a point of a facade.

    Args:
        u, v: metres along the facade and above the ground.
        pitch, floor: distance between windows, and height of a floor, metres.
    """
    column, level = np.floor(u / pitch), np.floor(v / floor)
    x, y = u - column * pitch, v - level * floor
    low, high = (0.9, floor - 0.55) if level > 0 else (1.0, floor - 0.7)
    left, right = 0.24 * pitch, 0.76 * pitch
    # Distance from the window's edge, negative outside. The frame has a bar in the middle.
    within = min(min(x - left, right - x), min(y - low, high - y))
    if v < 0.0 or within < 0.0:
        return _WALL
    if within < 0.07 or abs(x - 0.5 * pitch) < 0.03:
        return _FRAME
    # Some panes are brighter, like curtains.
    pane = cell_noise(column + 17.0, level + 31.0)
    return 0.02 + 0.03 * pane + (0.28 if pane > 0.72 else 0.0)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _odd(whole):
    """Return 1 for an odd integer and 0 for an even one, as a float."""
    return whole - 2.0 * np.floor(0.5 * whole)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _paint(u, v, half, parking, px, py, blur):
    """Return the fraction of a pixel covered by markings, reduced by wear; see `_markings`."""
    share = _markings(u, v, half, parking, blur)
    if share > 0.0:
        worn = 0.7 + 0.6 * (value_noise(px * 2.5, py * 2.5) - 0.3)
        share *= min(max(worn, 0.3), 1.0)
    return share


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _bricks(u, v, blur):
    """Return the brightness of brickwork at a point; bricks are 24 cm by 7.5 cm."""
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
    """Return the visibility, 0..1, of details of 2 cm: 1 in narrow pixels, 0 in wide ones."""
    return min(max(1.5 - blur / 0.03, 0.0), 1.0)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _patches(px, py):
    """Return the share of the second colour of asphalt, 0..1."""
    return value_noise(px * 0.13, py * 0.13) * 0.6 + value_noise(px * 0.6, py * 0.6) * 0.4


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _asphalt(patches, px, py, blur):
    """Return the brightness of asphalt."""
    grain = value_noise(px * 45.0, py * 45.0) - 0.5
    return 0.85 + 0.3 * patches + 0.35 * _fine(blur) * grain


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _wear(v, px, py, blur, paint):
    """Return the brightness factor of a road due to wheel tracks, cracks and repaired patches."""
    wheels = (abs(abs(v) - 1.65) - 0.8) / 0.35
    shade = 1.0 - 0.12 * max(1.0 - wheels * wheels / 8.0, 0.0) ** 8
    if blur < 0.05 and abs(value_noise(px * 0.5 + 9.0, py * 0.5) - 0.5) < 0.006:
        shade *= 0.6
    if paint == 0.0 and cell_noise(np.floor(px / 7.0), np.floor(py / 4.0)) > 0.9:
        shade *= 0.75
    return shade


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _leaves_mix(px, py, pz, blur):
    """Return the share of the second colour of leaves, 0..1."""
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
    """Return the brightness of a wall, which is dirty near the ground (v = 0)."""
    dirt = 0.18 * min(max(1.0 - v / 4.0, 0.0), 1.0) ** 8
    return (0.86 + 0.28 * value_noise(px * 0.5 + pz * 0.3, py * 0.5 - pz * 0.2)) * (1.0 - dirt)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy', forceinline=True)
def _plaster(u, v, blur):
    """Return the brightness factor of the grain of plaster."""
    return 1.0 + 0.12 * _fine(blur) * (value_noise(u * 30.0, v * 30.0) - 0.5)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def _rare(pattern, size, second_size, u, v, px, py, blur):
    """Evaluate one of the less frequent patterns at a point, as `surfaces` does."""
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
    """Return reflectance at the LiDAR's wavelength, raised by road markings, lowered by glass.

    Args:
        pattern: one of `Pattern`.
        size, second_size, infrared: of the material, see `Material`.
        u, v: texture coordinates, metres.
        px, py: position in the world, metres.
    """
    if pattern == _ROAD:
        return infrared + 0.75 * _paint(u, v, size, second_size, px, py, 0.05)
    if pattern in (_FACADE, _BRICK_FACADE):
        return 0.06 if _window(u, v, size, second_size) > 0.0 else infrared
    return infrared


@njit(cache=True, nogil=True, fastmath=_FAST, error_model='numpy')
def surfaces(pattern, size, second_size, u, v, px, py, pz, blur):
    """Evaluate a pattern at N points.

    Each frequent pattern has separate loops, one per output array, because the compiler vectorises
    only such simple loops.

    Args:
        pattern: one of `Pattern`.
        size, second_size: (N,) dimensions of the materials' pattern, see `Material`.
        u, v: (N,) texture coordinates, metres.
        px, py, pz: (N,) positions in the world, metres.
        blur: (N,) width of a pixel on the surface, metres.

    Returns:
        Three (N,) float32 arrays: brightness; share of the second colour, 0 to 1; and, where above
        0, a grey that replaces the material's colours.
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
