"""Graph-based superpixels: Felzenszwalb & Huttenlocher's segmentation at several scales at once.

P. Felzenszwalb, D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 59(2), 2004,
with the choices of OpenCV's `ximgproc` (four neighbours, Euclidean colour distance), whose
partitions it reproduces. Three things make it fast on one core:

- The edges are put in order by a counting sort of whole-numbered weights.
- Much of the work is the same at every scale, and is done once (`_merge`, `stop_at_refusal`): a
  component of which no edge was refused at the smallest scale also forms at every larger one.
  Each scale then starts from these components instead of from pixels.
- The union-find loop has next to no branches that depend on the image.

Weights are integers, and the few floating-point steps before them are plain IEEE operations in a
fixed order, so an image gives the same superpixels on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from drive_segment_ros.errors import ImageError, ParameterError
from drive_segment_ros.perception.union_find import find_root

# Weights are multiples of 1/32768 grey level: coarser ones tie so often that the partition
# changes. The largest, 255 sqrt(3), takes 24 bits: two passes of a 12-bit counting sort.
UNITS_PER_GREY_LEVEL = 1 << 15
DIGIT_BITS = 12
MAX_SCALE = 50_000.0  # in units, and with the largest weight added, still fits an int32
BLOCK = 64  # edges looked up ahead of the union-find: enough to hide the memory's latency


def felzenszwalb(
    image_bgr: np.ndarray, scales: Sequence[float], sigma: float, min_size: int
) -> list[tuple[np.ndarray, int]]:
    """Segment an image into superpixels, once for each scale.

    Args:
        image_bgr: (H, W, 3) uint8; any strides.
        scales: the publication's k, in grey levels; a larger one prefers larger superpixels.
        sigma: standard deviation of the Gaussian smoothing, px; 0 for none.
        min_size: superpixels under this many pixels are merged into a neighbour.

    Returns:
        For each scale, in the order given: labels (H, W) int32, numbered from 0 in the order in
        which a raster scan meets them, and their count.

    Raises:
        ImageError: if the image is empty or is not (H, W, 3) uint8.
        ParameterError: if there is no scale, or a scale, sigma or min_size is out of range.
    """
    _check(image_bgr, scales, sigma, min_size)
    # Writeable and contiguous, so that the compiled functions exist for one type only.
    image = np.require(image_bgr, requirements=['C', 'W'])
    thresholds = [round(scale * UNITS_PER_GREY_LEVEL) for scale in scales]
    edges = _edges(image, sigma)
    sizes = np.ones(image.shape[0] * image.shape[1], np.int32)
    inner = np.zeros_like(sizes)
    parent, refused = _merge(edges, sizes, inner, min(thresholds), True)
    nodes, sizes, inner = _contract(parent, refused, sizes, inner)

    segmentations = []
    for threshold in thresholds:
        scale_sizes = sizes.copy()
        parent, left = _merge(refused.copy(), scale_sizes, inner.copy(), threshold, False)
        _absorb_small(parent, left, scale_sizes, min_size)
        labels, count = _number(parent)
        segmentations.append((labels[nodes].reshape(image.shape[:2]), count))
    return segmentations


def _check(image_bgr: np.ndarray, scales: Sequence[float], sigma: float, min_size: int) -> None:
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
        raise ImageError(
            f'superpixels need an image of shape (height, width, 3) and type uint8, got '
            f'{image_bgr.shape} {image_bgr.dtype}; convert it to 8-bit BGR first'
        )
    if image_bgr.size == 0:
        raise ImageError(
            f'superpixels need an image with pixels, got shape {image_bgr.shape}; '
            'check that the image was decoded'
        )
    if len(scales) == 0:
        raise ParameterError('superpixels need at least one scale; give for example 100')
    for scale in scales:
        if not 0 < scale <= MAX_SCALE:
            raise ParameterError(
                f'superpixel scale is {scale}; give one above 0 and up to {MAX_SCALE:g}'
            )
    if not 0 <= sigma < math.inf:
        raise ParameterError(f'superpixel sigma is {sigma} px; give 0 (no smoothing) or more')
    if min_size < 0:
        raise ParameterError(f'superpixel min_size is {min_size} px; give 0 (keep all) or more')


def _edges(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the image's edges, see `_sort_edges`.

    The large arrays are made here, not in the compiled functions: NumPy asks for huge pages, and
    with small ones page faults take a third of the whole time.
    """
    height, width, channels = image.shape
    count = height * (width - 1) + (height - 1) * width
    smooth = np.empty((height, channels, width), np.float32)
    _smooth(image, _gaussian_kernel(sigma), smooth)
    weights = np.empty((height, 2, width), np.int32)
    _weigh_edges(smooth, weights)
    edges = np.empty((count, 3), np.uint32)
    _sort_edges(weights, np.empty(count, np.int64), edges)
    return edges


def _gaussian_kernel(sigma: float) -> np.ndarray:
    """Return the (2 r + 1,) float32 kernel that OpenCV takes for float images: r about 4 sigma."""
    radius = round(8 * sigma + 1) // 2
    if radius == 0:
        return np.ones(1, np.float32)
    weights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
    return (np.array(weights) / math.fsum(weights)).astype(np.float32)


@njit(cache=True, nogil=True)
def _reflect(index: int, length: int) -> int:
    """Mirror an index at the image's border, the border pixel not repeated."""
    if length == 1:
        return 0
    index = abs(index) % (2 * length - 2)
    return min(index, 2 * length - 2 - index)


@njit(cache=True, nogil=True)
def _smooth(image: np.ndarray, kernel: np.ndarray, smooth: np.ndarray) -> None:
    """Smooth (H, W, 3) uint8 down the columns, then along the rows, to (H, 3, W) float32."""
    height, width, channels = image.shape
    radius = len(kernel) // 2
    rows = image.reshape(height, width * channels)
    column_sums = np.empty(width * channels, np.float32)
    padded = np.empty(width + 2 * radius, np.float32)
    for y in range(height):
        column_sums[:] = 0
        for tap in range(len(kernel)):
            row = rows[_reflect(y + tap - radius, height)]
            for x in range(width * channels):
                column_sums[x] += kernel[tap] * np.float32(row[x])
        for channel in range(channels):
            for x in range(width):
                padded[radius + x] = column_sums[x * channels + channel]
            for x in range(radius):
                padded[x] = padded[radius + _reflect(x - radius, width)]
                padded[radius + width + x] = padded[radius + _reflect(width + x, width)]
            row_sums = smooth[y, channel]
            row_sums[:] = 0
            for tap in range(len(kernel)):
                for x in range(width):
                    row_sums[x] += kernel[tap] * padded[x + tap]


@njit(cache=True, nogil=True)
def _weigh_edges(smooth: np.ndarray, weights: np.ndarray) -> None:
    """Measure each pixel's colour distance to its right and lower neighbour.

    Args:
        smooth: (H, 3, W) float32.
        weights: (H, 2, W) int32, becomes the distances in units: [:, 0] to the right and [:, 1]
            down. The last column has no right and the last row no lower neighbour; these are
            left as they are.
    """
    height, _, width = smooth.shape
    for down in range(2):
        right = 1 - down
        for y in range(height - down):
            for x in range(width - right):
                blue = smooth[y, 0, x] - smooth[y + down, 0, x + right]
                green = smooth[y, 1, x] - smooth[y + down, 1, x + right]
                red = smooth[y, 2, x] - smooth[y + down, 2, x + right]
                distance = np.sqrt(blue * blue + green * green + red * red)
                weights[y, down, x] = np.int32(distance * np.float32(UNITS_PER_GREY_LEVEL))


@njit(cache=True, nogil=True)
def _sort_edges(weights: np.ndarray, by_low_digit: np.ndarray, edges: np.ndarray) -> None:
    """Sort the edges by weight, those of equal weight in raster order, right before down.

    A counting sort of the weights' low digit, then a stable one of the high digit.

    Args:
        weights: (H, 2, W) int32, see `_weigh_edges`.
        by_low_digit: (E,) int64, becomes weight, pixel and direction in one number.
        edges: (E, 3) uint32, becomes pixel, neighbour (both as flat indices) and weight.
    """
    height, _, width = weights.shape
    digits = 1 << DIGIT_BITS
    low_next = np.zeros(digits + 1, np.int32)
    high_next = np.zeros(digits + 1, np.int32)
    for y in range(height):
        for down in range(2 if y + 1 < height else 1):
            for x in range(width - 1 + down):
                weight = weights[y, down, x]
                low_next[(weight & (digits - 1)) + 1] += 1
                high_next[(weight >> DIGIT_BITS) + 1] += 1
    for digit in range(digits):
        low_next[digit + 1] += low_next[digit]
        high_next[digit + 1] += high_next[digit]

    for y in range(height):
        for x in range(width):
            for down in range(2):
                if (y + 1 < height) if down else (x + 1 < width):
                    weight = weights[y, down, x]
                    digit = weight & (digits - 1)
                    code = 2 * (y * width + x) + down
                    by_low_digit[low_next[digit]] = (np.int64(weight) << 32) | code
                    low_next[digit] += 1

    for edge in by_low_digit:
        weight = edge >> 32
        digit = weight >> DIGIT_BITS
        position = high_next[digit]
        high_next[digit] = position + 1
        pixel = (edge & 0xFFFFFFFF) >> 1
        edges[position, 0] = pixel
        edges[position, 1] = pixel + (width if edge & 1 else 1)
        edges[position, 2] = weight


@njit(cache=True, nogil=True, error_model='numpy')
def _merge(
    edges: np.ndarray, sizes: np.ndarray, inner: np.ndarray, threshold: int, stop_at_refusal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Merge components along the edges: the publication's algorithm 1.

    An edge merges two components if its weight is at most inner + threshold / size of both. If
    not, it is refused, and so is every later (heavier) edge of the component that refused.

    With `stop_at_refusal`, both components of a refused edge take no further part, and their
    later edges are refused as well. What was merged until then was merged along the lightest edge
    of both sides, which any larger threshold accepts too; so the result, with the refused edges
    still to be decided, is a valid start for every larger threshold.

    Args:
        edges: (E, 3) uint32 by weight: node, node, weight; overwritten.
        sizes: (N,) int32, px of each node; becomes those of the components, at their roots.
        inner: (N,) int32, heaviest edge inside each node; becomes that of the components.
        threshold: the publication's k, in units.
        stop_at_refusal: see above.

    Returns:
        parent: (N,) uint32, the trees of the union-find; a root has the lowest index of its tree.
        refused: (R, 3) uint32, refused edges in order, between the roots of that moment; the
            first of `edges`.
    """
    count = len(sizes)
    parent = np.arange(count).astype(np.uint32)
    limit = np.empty(count, np.int32)
    for node in range(count):
        limit[node] = inner[node] + np.int32(threshold / sizes[node])
    refusals = 0
    ahead = np.empty((BLOCK, 3), np.uint32)
    for begin in range(0, len(edges), BLOCK):
        # Look a block of edges up first: these loads need not wait for one another, and most
        # edges inside a component drop out here, without a branch to be mispredicted.
        kept = 0
        for edge in range(begin, min(begin + BLOCK, len(edges))):
            a, b = edges[edge, 0], edges[edge, 1]
            parent[a] = above_a = parent[parent[a]]
            parent[b] = above_b = parent[parent[b]]
            ahead[kept, 0] = above_a
            ahead[kept, 1] = above_b
            ahead[kept, 2] = edges[edge, 2]
            kept += above_a != above_b
        for edge in range(kept):
            a = find_root(parent, ahead[edge, 0])
            b = find_root(parent, ahead[edge, 1])
            if a == b:
                continue
            a, b = min(a, b), max(a, b)
            weight = np.int32(ahead[edge, 2])
            limit_a, limit_b = limit[a], limit[b]
            accepted = (weight <= limit_a) & (weight <= limit_b)
            # Selections instead of a branch, which would be mispredicted every other time.
            size = sizes[a] + sizes[b]
            parent[b] = a if accepted else b
            sizes[a] = size if accepted else sizes[a]
            inner[a] = weight if accepted else inner[a]
            limit[b] = -1 if stop_at_refusal else limit_b
            limit_refused = np.int32(-1) if stop_at_refusal else limit_a
            limit[a] = weight + np.int32(threshold / size) if accepted else limit_refused
            edges[refusals, 0] = a
            edges[refusals, 1] = b
            edges[refusals, 2] = weight
            refusals += not accepted
    return parent, edges[:refusals]


@njit(cache=True, nogil=True)
def _contract(
    parent: np.ndarray, refused: np.ndarray, sizes: np.ndarray, inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the components of `_merge` the nodes of a smaller graph, the refused edges its edges.

    Args:
        parent, refused, sizes, inner: as `_merge` left them; `refused` is renumbered in place.

    Returns:
        nodes: (N,) int32, the new node of each old one.
        sizes, inner: of the new nodes, as `_merge` takes them.
    """
    nodes, count = _number(parent)
    node_sizes = np.empty(count, np.int32)
    node_inner = np.empty(count, np.int32)
    for old in range(len(nodes)):
        if parent[old] == old:
            node_sizes[nodes[old]] = sizes[old]
            node_inner[nodes[old]] = inner[old]
    # Components that refused an edge stopped, so the roots of that moment are roots still.
    for edge in range(len(refused)):
        refused[edge, 0] = nodes[refused[edge, 0]]
        refused[edge, 1] = nodes[refused[edge, 1]]
    return nodes, node_sizes, node_inner


@njit(cache=True, nogil=True)
def _absorb_small(
    parent: np.ndarray, refused: np.ndarray, sizes: np.ndarray, min_size: int
) -> None:
    """Merge components under `min_size` px along their lightest refused edges, in place.

    Args:
        parent, refused, sizes: as `_merge` left them.
        min_size: px.
    """
    for edge in range(len(refused)):
        a = find_root(parent, refused[edge, 0])
        b = find_root(parent, refused[edge, 1])
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            a, b = min(a, b), max(a, b)
            sizes[a] += sizes[b]
            parent[b] = a


@njit(cache=True, nogil=True)
def _number(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the trees in the order of their roots; return (N,) int32 and the count.

    Args:
        parent: (N,) uint32, see `_merge`.
    """
    labels = np.empty(len(parent), np.int32)
    count = 0
    for node in range(len(parent)):
        # Parents have lower indices than their children, so they are numbered already.
        if parent[node] == node:
            labels[node] = count
            count += 1
        else:
            labels[node] = labels[parent[node]]
    return labels, count
