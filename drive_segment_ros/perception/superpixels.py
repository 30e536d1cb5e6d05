"""Graph-based superpixels: Felzenszwalb & Huttenlocher's segmentation, and coarser ones of it.

P. Felzenszwalb, D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 59(2), 2004,
with the choices of OpenCV's `ximgproc` (four neighbours, Euclidean colour distance). Three things
make it fast on one core:

- Weights are rounded to 256 steps an octave, and the edges are sorted by one counting sort.
  Those of one weight are processed in the order in which their pixels lie in memory.
- A larger scale continues from the components of the previous one, with the edges refused there,
as
  hierarchical segmentation does (Grundmann et al., "Efficient Hierarchical Graph-Based Video
  Segmentation", CVPR 2010): it joins components, not pixels.
- The union-find loop has hardly any branches that depend on the image.

Weights are integers, and the few floating-point steps before them are plain IEEE operations in a
fixed order, so an image gives the same superpixels on every machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from drive_segment_ros.errors import ImageError, ParameterError
from drive_segment_ros.perception.union_find import find_root

# Weights and scales are counted in 1/32768 grey level.
UNITS_PER_GREY_LEVEL = 1 << 15
MAX_SCALE = 50_000.0  # in units, and with the largest weight added, still fits an int32
BLOCK = 128  # edges looked up ahead of the union-find: enough to hide the memory's latency
# An edge's rank is what the float 1 + colour distance begins with: sign, exponent and 8 bits of
# the mantissa; so distances up to 1 come in steps of 1/256 grey level, of 100 in steps of 1/4.
_DROPPED_BITS = 15
_FIRST_RANK = int(np.float32(1.0).view(np.int32)) >> _DROPPED_BITS
_LAST_RANK = int(np.float32(1.0 + 255.0 * math.sqrt(3.0)).view(np.int32)) >> _DROPPED_BITS
_RANKS = _LAST_RANK - _FIRST_RANK + 1


def felzenszwalb(
    image_bgr: np.ndarray, scales: Sequence[float], sigma: float, min_size: int
) -> list[tuple[np.ndarray, int]]:
    """Segment an image into superpixels, and these into coarser ones.

    Args:
        image_bgr: (H, W, 3) uint8; any strides.
        scales: the publication's k, in grey levels, ascending; a larger one gives larger
            superpixels, formed from the components of the one before it.
        sigma: standard deviation of the Gaussian smoothing, px; 0 for none.
        min_size: superpixels under this many pixels are merged into a neighbour.

    Returns:
        For each scale, in the order given: labels (H, W) int32, numbered from 0 in the order in
        which a raster scan meets them, and their count.

    Raises:
        ImageError: if the image is empty or is not (H, W, 3) uint8.
        ParameterError: if there is no scale, they descend, or a scale, sigma or min_size is out
            of range.
    """
    _check(image_bgr, scales, sigma, min_size)
    # Writeable and contiguous, so that the compiled functions exist for one type only.
    image = np.require(image_bgr, requirements=['C', 'W'])
    height, width = image.shape[:2]
    edges, first = _edges(image, sigma)
    sizes = np.ones(height * width, np.int32)
    inner = np.zeros_like(sizes)
    refused = np.empty((len(edges), 3), np.uint32)
    parent, count = _merge_pixels(
        edges, first, rank_weights(), width, sizes, inner, _units(scales[0]), refused
    )
    piece, sizes, inner, count = _contract(parent, refused[:count], sizes, inner)
    # The component of each node at the current scale.
    component = np.arange(len(sizes), dtype=np.int32)
    segmentations = []
    for k, scale in enumerate(scales):
        refused = refused[:count]
        if k > 0:
            parent, count = _merge(refused, sizes, inner, _units(scale))
            joined, sizes, inner, count = _contract(parent, refused[:count], sizes, inner)
            component = joined[component]
        labels, superpixels = _without_small(refused[:count], sizes, min_size)
        image_labels = gathered(labels[component], piece).reshape(height, width)
        segmentations.append((image_labels, superpixels))
    return segmentations


def _units(scale: float) -> int:
    return round(scale * UNITS_PER_GREY_LEVEL)


def rank_weights() -> np.ndarray:
    """Return the weight of each rank, (R,) int32, in units: the least distance that has it."""
    bits = np.arange(_FIRST_RANK, _LAST_RANK + 1, dtype=np.int32) << _DROPPED_BITS
    distance = bits.view(np.float32).astype(np.float64) - 1.0
    return (distance * UNITS_PER_GREY_LEVEL).astype(np.int32)


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
    if any(larger < smaller for smaller, larger in itertools.pairwise(scales)):
        raise ParameterError(f'superpixel scales are {list(scales)}; give them in ascending order')
    if not 0 <= sigma < math.inf:
        raise ParameterError(f'superpixel sigma is {sigma} px; give 0 (no smoothing) or more')
    if min_size < 0:
        raise ParameterError(f'superpixel min_size is {min_size} px; give 0 (keep all) or more')


def _edges(image: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the image's edges by weight and where each weight begins, see `_sort_edges`.

    The large arrays are allocated here, not in the compiled functions: NumPy requests huge pages;
    with small ones page faults take much of the time.
    """
    height, width, channels = image.shape
    smooth = np.empty((height, channels, width), np.float32)
    _smooth(image, _gaussian_kernel(sigma), smooth)
    distance = np.empty((height, 2, width), np.float32)
    _weigh_edges(smooth, distance)
    edges = np.empty(height * (width - 1) + (height - 1) * width, np.uint32)
    return edges, _sort_edges(distance.view(np.int32), edges)


def _gaussian_kernel(sigma: float) -> np.ndarray:
    """Return OpenCV's (2 r + 1,) float32 kernel for float images: r about 4 sigma."""
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
def _weigh_edges(smooth: np.ndarray, distance: np.ndarray) -> None:
    """Measure each pixel's colour distance to its right and lower neighbour.

    Args:
        smooth: (H, 3, W) float32.
        distance: (H, 2, W) float32, becomes 1 + the distances in grey levels: [:, 0] to the right
            and [:, 1] down. The last column has no right and the last row no lower neighbour;
            these are left as they are.
    """
    height, _, width = smooth.shape
    for down in range(2):
        right = 1 - down
        for y in range(height - down):
            for x in range(width - right):
                blue = smooth[y, 0, x] - smooth[y + down, 0, x + right]
                green = smooth[y, 1, x] - smooth[y + down, 1, x + right]
                red = smooth[y, 2, x] - smooth[y + down, 2, x + right]
                squared = blue * blue + green * green + red * red
                distance[y, down, x] = np.float32(1.0) + np.sqrt(squared)


@njit(cache=True, nogil=True)
def _sort_edges(bits: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sort the edges by rank, those of equal rank in raster order, right before down.

    Args:
        bits: (H, 2, W) int32, those of the floats of `_weigh_edges`.
        edges: (E,) uint32, becomes twice the pixel's flat index, and 1 more for the edge down.

    Returns:
        (R + 1,) int32, where the edges of each rank begin.
    """
    height, _, width = bits.shape
    filled = np.zeros(_RANKS + 1, np.int32)
    for y in range(height):
        for down in range(2 if y + 1 < height else 1):
            for x in range(width - 1 + down):
                filled[_rank(bits[y, down, x]) + np.uint32(1)] += 1
    for rank in range(_RANKS):
        filled[rank + 1] += filled[rank]
    first = filled.copy()
    for y in range(height):
        for x in range(width):
            for down in range(2):
                if (y + 1 < height) if down else (x + 1 < width):
                    of_edge = _rank(bits[y, down, x])
                    place = filled[of_edge]
                    edges[np.uint32(place)] = 2 * (y * width + x) + down
                    filled[of_edge] = place + 1
    return first


@njit(cache=True, nogil=True, inline='always')
def _rank(bits: np.int32) -> np.uint32:
    """Return the rank of a weight; unsigned, so that numba omits the check of the index."""
    return np.uint32((bits >> _DROPPED_BITS) - _FIRST_RANK)


@njit(cache=True, nogil=True, error_model='numpy', inline='always')
def _limits(sizes: np.ndarray, inner: np.ndarray, threshold: int) -> np.ndarray:
    """Return size, px, and the heaviest edge that each component accepts, (N, 2) int32.

    Stored together, as they are read together.

    Args:
        sizes: (N,) int32, px.
        inner: (N,) int32, heaviest edge inside each.
        threshold: the publication's k, in units.
    """
    state = np.empty((len(sizes), 2), np.int32)
    for node in range(len(sizes)):
        state[node, 0] = sizes[node]
        state[node, 1] = inner[node] + np.int32(threshold / sizes[node])
    return state


@njit(cache=True, nogil=True, error_model='numpy', inline='always')
def _decide(
    parent: np.ndarray,
    state: np.ndarray,
    a: int,
    b: int,
    weight: np.int32,
    threshold: int,
    refused: np.ndarray,
    refusals: int,
) -> int:
    """Merge two components or note that the edge was refused; return how many were.

    An edge merges two components if its weight is at most inner + threshold / size of both. If
    not, it is refused, and so is every later (heavier) edge of the component that refused.

    Args:
        parent: (N,) uint32, the trees of the union-find.
        state: (N, 2) int32, see `_limits`.
        a, b: the roots, of which the lower stays one.
        weight: int32, of the edge, in units.
        threshold: the publication's k, in units.
        refused: (R, 3) uint32: node, node, weight, written at `refusals`.
        refusals: how many edges were refused before.
    """
    limit = state[a, 1]
    accepted = (weight <= limit) & (weight <= state[b, 1])
    # Selections instead of a branch, which would be mispredicted every other time.
    size = state[a, 0] + state[b, 0]
    parent[b] = a if accepted else b
    state[a, 0] = size if accepted else state[a, 0]
    state[a, 1] = weight + np.int32(threshold / size) if accepted else limit
    refused[refusals, 0] = a
    refused[refusals, 1] = b
    refused[refusals, 2] = weight
    return refusals + (not accepted)


@njit(cache=True, nogil=True, error_model='numpy', inline='always')
def _take_back(state: np.ndarray, threshold: int, sizes: np.ndarray, inner: np.ndarray) -> None:
    """Write sizes and heaviest edges from what `_limits` made of them and `_decide` changed."""
    for node in range(len(sizes)):
        sizes[node] = state[node, 0]
        inner[node] = state[node, 1] - np.int32(threshold / state[node, 0])


@njit(cache=True, nogil=True, error_model='numpy')
def _merge_pixels(
    edges: np.ndarray,
    first: np.ndarray,
    weights: np.ndarray,
    width: int,
    sizes: np.ndarray,
    inner: np.ndarray,
    threshold: int,
    refused: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Merge pixels along the edges: the publication's algorithm 1.

    Args:
        edges, first: see `_sort_edges`.
        weights: (R,) int32, of each rank, in units.
        width: of the image, px.
        sizes: (N,) int32, px of each pixel: 1; becomes those of the components, at their roots.
        inner: (N,) int32, 0; becomes the heaviest edge inside each component.
        threshold: the publication's k, in units.
        refused: (E, 3) uint32, becomes the refused edges in order: root, root, weight.

    Returns:
        (N,) uint32 parents, a root has the lowest index of its tree; and how many edges were
        refused.
    """
    parent = np.arange(len(sizes), dtype=np.uint32)
    state = _limits(sizes, inner, threshold)
    refusals = 0
    ahead = np.empty((BLOCK, 2), np.uint32)
    fetched = np.empty(BLOCK, np.int32)
    for rank in range(len(weights)):
        weight = weights[rank]
        for begin in range(first[rank], first[rank + 1], BLOCK):
            # Find the roots of a block of edges first: these loads do not wait for one another,
            # and most edges inside a component are removed here without mispredicted branches.
            kept = 0
            for edge in range(begin, min(begin + BLOCK, first[rank + 1])):
                a = edges[edge] >> np.uint32(1)
                down = edges[edge] & np.uint32(1)
                b = a + (np.uint32(width) if down else np.uint32(1))
                parent[a] = above_a = parent[parent[a]]
                parent[b] = above_b = parent[parent[b]]
                ahead[kept, 0] = above_a
                ahead[kept, 1] = above_b
                kept += above_a != above_b
            # A prefetch: the states are loaded into the cache in parallel, where the loop below
            # would wait for one after the other.
            for edge in range(kept):
                fetched[edge] = state[ahead[edge, 0], 0] + state[ahead[edge, 1], 0]
            for edge in range(kept):
                a = find_root(parent, ahead[edge, 0])
                b = find_root(parent, ahead[edge, 1])
                if a != b:
                    a, b = min(a, b), max(a, b)
                    refusals = _decide(parent, state, a, b, weight, threshold, refused, refusals)
    _take_back(state, threshold, sizes, inner)
    return parent, refusals


@njit(cache=True, nogil=True, error_model='numpy')
def _merge(
    edges: np.ndarray, sizes: np.ndarray, inner: np.ndarray, threshold: int
) -> tuple[np.ndarray, int]:
    """Merge components along the edges that were refused at a smaller scale.

    Args:
        edges: (E, 3) uint32 by weight: node, node, weight; becomes those refused again.
        sizes, inner, threshold: as `_merge_pixels`, of the components.

    Returns:
        As `_merge_pixels`.
    """
    parent = np.arange(len(sizes), dtype=np.uint32)
    state = _limits(sizes, inner, threshold)
    refusals = 0
    for edge in range(len(edges)):
        a, b = find_root(parent, edges[edge, 0]), find_root(parent, edges[edge, 1])
        if a != b:
            a, b = min(a, b), max(a, b)
            weight = np.int32(edges[edge, 2])
            refusals = _decide(parent, state, a, b, weight, threshold, edges, refusals)
    _take_back(state, threshold, sizes, inner)
    return parent, refusals


@njit(cache=True, nogil=True)
def _contract(
    parent: np.ndarray, refused: np.ndarray, sizes: np.ndarray, inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Contract components to the nodes of a smaller graph with the refused edges between them.

    Args:
        parent, sizes, inner: as merging left them.
        refused: (E, 3) uint32, renumbered in place, those inside a component left out.

    Returns:
        node: (N,) int32, the new node of each old one.
        sizes, inner: of the new nodes, as merging takes them.
        count: how many edges are left.
    """
    node, count = _number(parent)
    node_sizes = np.empty(count, np.int32)
    node_inner = np.empty(count, np.int32)
    for old in range(len(node)):
        if parent[old] == old:
            node_sizes[node[old]] = sizes[old]
            node_inner[node[old]] = inner[old]
    kept = 0
    for edge in range(len(refused)):
        a, b = node[refused[edge, 0]], node[refused[edge, 1]]
        refused[kept, 0], refused[kept, 1] = a, b
        refused[kept, 2] = refused[edge, 2]
        kept += a != b
    return node, node_sizes, node_inner, kept


@njit(cache=True, nogil=True)
def _without_small(edges: np.ndarray, sizes: np.ndarray, min_size: int) -> tuple[np.ndarray, int]:
    """Merge components under `min_size` px along their lightest refused edges, and number them.

    Args:
        edges: (E, 3) uint32, see `_contract`.
        sizes: (N,) int32, px.
        min_size: px.

    Returns:
        (N,) int32, the label of each component, and how many there are.
    """
    parent = np.arange(len(sizes), dtype=np.uint32)
    total = sizes.copy()
    for edge in range(len(edges)):
        a, b = edges[edge, 0], edges[edge, 1]
        # Most pairs are both large enough and need no lookup.
        if min(sizes[a], sizes[b]) < min_size:
            a, b = find_root(parent, a), find_root(parent, b)
            if a != b and (total[a] < min_size or total[b] < min_size):
                a, b = min(a, b), max(a, b)
                total[a] += total[b]
                parent[b] = a
    return _number(parent)


@njit(cache=True, nogil=True)
def gathered(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the values at indices, (N,) int32; four times faster than NumPy, which checks them.

    Args:
        values: (M,) int32.
        index: (N,) int32, 0..M-1.
    """
    result = np.empty(len(index), np.int32)
    for i in range(len(index)):
        result[i] = values[np.uint32(index[i])]
    return result


@njit(cache=True, nogil=True)
def _number(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the trees in the order of their roots; return (N,) int32 and the count.

    Args:
        parent: (N,) uint32, the trees of the union-find.
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
