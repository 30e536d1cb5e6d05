"""Which pixels look like the sky of their own image, in addition to a LiDAR's missing returns.

A beam also gives no return where a bridge, a tree crown or a facade is dark, glass, slanting or
far away, and above the highest beam nothing is known. The appearance of the sky is therefore
estimated in each image, without labels and without a prior on its appearance, so that a black sky
over lit streets works as well as an overexposed one:

1. Colours and textures that also occur at returns are not sky, nor is anything far darker than the
   rest.
2. The remaining ones are sky where they form wide areas that reach the top of the image, or the
   widest area. Colours that mostly occur elsewhere, in stripes and under overhangs, are not sky.

Where the evidence is contradictory, nothing is sky.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.resizing import resize_image

# Bins of a look: brightness, chroma (blue minus red), local contrast (octaves from 4 grey levels).
_BRIGHTNESS, _CHROMA, _CONTRAST = 32, 16, 5
_STEP = 3  # bits: 8 grey levels a bin
# Least share of the points of a look that must be without returns.
_CLEAR_SHARE = 0.8
# Looks with fewer points after smoothing are treated as absent.
_MIN_SEEN = 0.02
# With fewer points of such looks, there is no sky.
_MIN_POINTS = 5
# The sky's brightness varies, from deep blue to clouds, by less than this ratio.
_DARKEST = 1.0 / 3.0
# A wide area: in a window of this size relative to the image's width, this share is sky.
_WINDOW, _WIDE_SHARE = 1.0 / 29.0, 0.9
# Least share of the points of a look that must lie in wide areas.
_TRUSTED_SHARE = 0.5
# Contrast is high along the border of the sky: within this distance, px, colour alone decides.
_BORDER = 6


def looks_like_sky(
    image_bgr: NDArray[np.uint8],
    clear: tuple[NDArray[np.float32], NDArray[np.float32]],
    objects: tuple[NDArray[np.float32], NDArray[np.float32]],
    spacing: float,
) -> NDArray[np.bool_]:
    """Return the pixels that look like sky, (H, W).

    Args:
        image_bgr: (H, W, 3) uint8.
        clear: u and v, (S,) float32 px, where the LiDAR saw nothing.
        objects: u and v, (M,) float32 px, where it saw objects.
        spacing: of the clear points, px; of denser points no more than this are counted.
    """
    height, width = image_bgr.shape[:2]
    # At half the size: noise averages out, and it takes a quarter of the time.
    small = resize_image(image_bgr, max(height // 2, 1), max(width // 2, 1))
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
    contrast = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    gain = _gain(grey)
    look = _looks(small, grey, np.asarray(contrast, np.uint8), gain)
    nothing = np.zeros((height, width), np.bool_)

    row, column = _thinned(*clear, look.shape, spacing / 2.0)
    seen = _histogram(look[row, column])
    returned = _histogram(look[_thinned(*objects, look.shape, spacing / 2.0)])
    sky = (seen > _MIN_SEEN) & (seen >= _CLEAR_SHARE * (seen + returned))
    agree = sky.reshape(-1)[look[row, column]]
    if np.count_nonzero(agree) < _MIN_POINTS:
        return nothing
    darkest = _DARKEST * float(np.percentile(grey[row, column][agree], 90.0))
    area = _area(look, grey, sky, darkest)
    trusted = _trusted(area, row, column)
    sky &= _histogram(look[row[trusted], column[trusted]]) >= _TRUSTED_SHARE * seen
    area = _area(look, grey, sky, darkest)
    near = cv2.dilate(area, np.ones((_BORDER + 1, _BORDER + 1), np.uint8))
    image = np.require(image_bgr, requirements=['C', 'W'])
    return _with_border(image, area, np.asarray(near, np.uint8), sky.any(axis=2), gain, darkest)


def _gain(grey: NDArray[np.uint8]) -> int:
    """Return the factor on brightness, in 1/256, so that dark images also use all bins."""
    count = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0.0, 256.0]))
    brightest = int(np.searchsorted(count, 0.99 * count[-1]))
    return 256 * 255 // max(brightest, 16)


def _thinned(
    u: NDArray[np.float32], v: NDArray[np.float32], shape: tuple[int, ...], cell: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return row and column at half the size of one point for each cell, px, of the image."""
    return _first_of_cell(u, v, shape[0], shape[1], max(cell, 1.0))


def _histogram(looks: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the smoothed histogram of looks; (brightness, chroma, contrast) float32."""
    count = np.bincount(looks, minlength=_BRIGHTNESS * _CHROMA * _CONTRAST).astype(np.float32)
    padded = np.pad(count.reshape(_BRIGHTNESS, _CHROMA, _CONTRAST), 1)
    padded[1:-1] = 0.5 * padded[1:-1] + 0.25 * (padded[:-2] + padded[2:])
    padded[:, 1:-1] = 0.5 * padded[:, 1:-1] + 0.25 * (padded[:, :-2] + padded[:, 2:])
    inner = padded[1:-1, 1:-1]
    return 0.5 * inner[..., 1:-1] + 0.25 * (inner[..., :-2] + inner[..., 2:])


def _area(
    look: NDArray[np.uint16], grey: NDArray[np.uint8], sky: NDArray[np.bool_], darkest: float
) -> NDArray[np.uint8]:
    """Return the pixels, uint8 0 or 1, where most neighbours look like sky."""
    area = _chosen(look, grey, sky.reshape(-1), darkest)
    return np.asarray(cv2.medianBlur(area, 3), np.uint8)


def _trusted(
    area: NDArray[np.uint8], row: NDArray[np.int32], column: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return which points lie in wide parts of areas that reach the top, or of the largest."""
    count, component = cv2.connectedComponents(area, connectivity=4)
    size = np.bincount(component.reshape(-1), minlength=count)
    size[0] = 0
    chosen = np.zeros(count, np.bool_)
    chosen[component[0]] = True
    chosen[size.argmax()] = True
    chosen[0] = False
    window = max(3, round(area.shape[1] * _WINDOW) | 1)
    share = cv2.blur(area * np.uint8(255), (window, window))
    return chosen[component[row, column]] & (share[row, column] > 255 * _WIDE_SHARE)


@njit(cache=True, nogil=True)
def _first_of_cell(u, v, height, width, cell):
    """Return row and column, at half the size, of the first point in each cell, (K,) int32 each.

    Args:
        u, v: (N,) float32 px, at full size.
        height, width: half the size, px.
        cell: side of a cell, px at half the size.
    """
    rows, columns = int(height / cell) + 1, int(width / cell) + 1
    taken = np.zeros((rows, columns), np.bool_)
    row, column = np.empty(len(u), np.int32), np.empty(len(u), np.int32)
    n = 0
    for i in range(len(u)):
        r = min(max(int(v[i] * np.float32(0.5)), 0), height - 1)
        c = min(max(int(u[i] * np.float32(0.5)), 0), width - 1)
        if not taken[int(r / cell), int(c / cell)]:
            taken[int(r / cell), int(c / cell)] = True
            row[n], column[n] = r, c
            n += 1
    return row[:n].copy(), column[:n].copy()


@njit(cache=True, nogil=True, inline='always')
def _colour(blue, red, grey, gain):
    """Return a colour's bins, of brightness and of chroma.

    Args:
        blue, red, grey: 0..255.
        gain: brightness is multiplied by, in 1/256.
    """
    bright = min(np.int32(grey) * gain >> 8, np.int32(255)) >> _STEP
    chroma = ((np.int32(blue) - np.int32(red)) * gain >> 8) + np.int32(_CHROMA << (_STEP - 1))
    return bright, min(max(chroma >> _STEP, np.int32(0)), np.int32(_CHROMA - 1))


@njit(cache=True, nogil=True)
def _looks(image, grey, contrast, gain):
    """Return the look of each pixel, (H, W) uint16: bins of brightness, chroma and contrast.

    Args:
        image: (H, W, 3) uint8 BGR.
        grey, contrast: (H, W) uint8.
        gain: brightness is multiplied by, in 1/256.
    """
    height, width = grey.shape
    octave = np.empty(256, np.int32)
    for k in range(256):
        octave[k] = (k >= 4) + (k >= 8) + (k >= 16) + (k >= 32)
    look = np.empty((height, width), np.uint16)
    for row in range(height):
        for column in range(width):
            bright, chroma = _colour(
                image[row, column, 0], image[row, column, 2], grey[row, column], gain
            )
            colour = bright * np.int32(_CHROMA) + chroma
            look[row, column] = colour * np.int32(_CONTRAST) + octave[contrast[row, column]]
    return look


@njit(cache=True, nogil=True)
def _chosen(look, grey, sky, darkest):
    """Return the pixels whose look is the sky's, and that are not too dark, (H, W) uint8 0 or 1.

    Args:
        look: (H, W) uint16.
        grey: (H, W) uint8.
        sky: (looks,) bool.
        darkest: grey level.
    """
    height, width = look.shape
    out = np.empty((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            bright = grey[row, column] >= darkest
            out[row, column] = np.uint8(bright & sky[look[row, column]])
    return out


@njit(cache=True, nogil=True)
def _with_border(image, area, near, colours, gain, darkest):
    """Return the area at full size, and pixels near it of the sky's colours, (H, W) bool.

    Args:
        image: (H, W, 3) uint8 BGR.
        area, near: (H // 2, W // 2) uint8, 0 or 1.
        colours: (brightness, chroma) bool, the sky's.
        gain: brightness is multiplied by, in 1/256.
        darkest: grey level.
    """
    height, width = image.shape[:2]
    out = np.zeros((height, width), np.bool_)
    for row in range(height):
        r = min(row // 2, area.shape[0] - 1)
        for column in range(width):
            c = min(column // 2, area.shape[1] - 1)
            if area[r, c]:
                out[row, column] = True
            elif near[r, c]:
                blue, red = np.int32(image[row, column, 0]), np.int32(image[row, column, 2])
                green = np.int32(image[row, column, 1])
                # The same as OpenCV's.
                grey = (1868 * blue + 9617 * green + 4899 * red + 8192) >> 14
                bright, chroma = _colour(blue, red, grey, gain)
                out[row, column] = grey >= darkest and colours[bright, chroma]
    return out
