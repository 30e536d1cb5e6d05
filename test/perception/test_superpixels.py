"""Superpixels: comparison with a plain implementation of the algorithm and with OpenCV."""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from drive_segment_ros.errors import ImageError, ParameterError
from drive_segment_ros.perception.superpixels import (
    UNITS_PER_GREY_LEVEL,
    felzenszwalb,
    rank_weights,
)


def opencv_labels(image: np.ndarray, sigma: float, scale: float, min_size: int) -> np.ndarray:
    """Return the labels of OpenCV's graph segmentation, which is in its contrib modules."""
    ximgproc = pytest.importorskip('cv2.ximgproc', reason='needs opencv-contrib to compare with')
    graph = ximgproc.segmentation.createGraphSegmentation(sigma, scale, min_size)
    return graph.processImage(image)


def plain_felzenszwalb(image: np.ndarray, scales: list[float], min_size: int) -> list[np.ndarray]:
    """Run algorithm 1 of the paper edge by edge, without smoothing; labels in raster order.

    Each further scale continues from the components of the scale before.
    """
    height, width, _ = image.shape
    pixels = [tuple(map(int, pixel)) for pixel in image.reshape(-1, 3)]
    weights = rank_weights().tolist()
    edges = []
    for y, x in itertools.product(range(height), range(width)):
        a = y * width + x
        for b in [a + 1] * (x + 1 < width) + [a + width] * (y + 1 < height):
            squared = sum((p - q) ** 2 for p, q in zip(pixels[a], pixels[b], strict=True))
            distance = float(np.float32(1.0) + np.sqrt(np.float32(squared))) - 1.0
            rank = bisect.bisect_right(weights, int(distance * UNITS_PER_GREY_LEVEL)) - 1
            edges.append((weights[rank], a, b))
    edges.sort(key=lambda edge: edge[0])  # stable: equal weights stay in raster order

    component = list(range(len(pixels)))
    inner = dict.fromkeys(component, 0)

    def members(of: list[int], name: int) -> list[int]:
        return [pixel for pixel, other in enumerate(of) if other == name]

    segmentations = []
    for scale in scales:
        threshold = round(scale * UNITS_PER_GREY_LEVEL)
        for weight, p, q in edges:
            a, b = component[p], component[q]
            sizes = {c: component.count(c) for c in (a, b)}
            if a != b and all(weight <= inner[c] + threshold // sizes[c] for c in (a, b)):
                for pixel in members(component, max(a, b)):
                    component[pixel] = min(a, b)
                inner[min(a, b)] = weight
        whole = component.copy()
        for _, p, q in edges:
            a, b = whole[p], whole[q]
            if a != b and min(whole.count(a), whole.count(b)) < min_size:
                for pixel in members(whole, max(a, b)):
                    whole[pixel] = min(a, b)
        numbers: dict[int, int] = {}
        labels = [numbers.setdefault(c, len(numbers)) for c in whole]
        segmentations.append(np.array(labels).reshape(height, width))
    return segmentations


@st.composite
def small_images(draw: st.DrawFn) -> np.ndarray:
    """Draw images up to 14 x 14; few grey levels give many edges of equal weight."""
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 14)), 3
    levels = draw(st.sampled_from([2, 4, 16, 256]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, levels, shape, np.uint8)


@settings(max_examples=200, deadline=None)
@given(
    image=small_images(),
    scales=st.lists(st.floats(0.01, 600), min_size=1, max_size=3).map(sorted),
    min_size=st.integers(0, 30),
)
def test_is_the_published_algorithm(image: np.ndarray, scales: list[float], min_size: int) -> None:
    segmentations = felzenszwalb(image, scales, sigma=0, min_size=min_size)
    plain = plain_felzenszwalb(image, scales, min_size)
    for expected, (labels, count) in zip(plain, segmentations, strict=True):
        np.testing.assert_array_equal(labels, expected)
        assert labels.dtype == np.int32
        assert count == expected.max() + 1


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Return 1 for equal partitions, about 0 for unrelated ones (Hubert & Arabie 1985)."""

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1.0) / 2).sum())

    _, joint = np.unique(a.astype(np.int64) * (int(b.max()) + 1) + b, return_counts=True)
    in_a, in_b = pairs(np.bincount(a.ravel())), pairs(np.bincount(b.ravel()))
    chance = in_a * in_b / pairs(np.array([a.size]))
    return (pairs(joint) - chance) / ((in_a + in_b) / 2 - chance)


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Return which edges between neighbouring pixels are boundaries, as a flat bool array."""
    right, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    return np.concatenate([right.ravel(), down.ravel()])


def drawn_scene(seed: int) -> np.ndarray:
    """Return an image of overlapping ellipses on a gradient with noise, (240, 320, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 210, 320, dtype=np.float32)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (240, 320, 3)))
    for _ in range(60):
        centre = rng.integers(0, (320, 240)).tolist()
        axes = rng.integers(4, 60, 2).tolist()
        colour = rng.integers(0, 256, 3).tolist()
        cv2.ellipse(image, centre, axes, float(rng.integers(180)), 0, 360, colour, -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def shared_boundaries(image: np.ndarray, scale: float, sigma: float) -> tuple[float, float]:
    """Return the share of OpenCV's boundaries that are ours, and of ours that are OpenCV's.

    Edges of nearly equal weight may be sorted differently and then give other boundaries; images
    with noise have many of them.
    """
    ((labels, _),) = felzenszwalb(image, [scale], sigma, min_size=50)
    ours, theirs = boundaries(labels), boundaries(opencv_labels(image, sigma, scale, 50))
    both = np.count_nonzero(ours & theirs)
    return both / np.count_nonzero(theirs), both / np.count_nonzero(ours)


@pytest.mark.parametrize('sigma', [0.5, 0.8])
@pytest.mark.parametrize('scale', [100.0, 300.0])
@pytest.mark.parametrize('seed', [1, 2])
def test_agrees_with_opencv_on_drawn_scenes(seed: int, scale: float, sigma: float) -> None:
    assert min(shared_boundaries(drawn_scene(seed), scale, sigma)) > 0.94


def test_agrees_with_opencv_on_the_real_drive(real_bag: Path) -> None:
    with AnyReader([real_bag]) as reader:
        cameras = [c for c in reader.connections if c.msgtype.endswith('CompressedImage')]
        messages = list(itertools.islice(reader.messages(cameras), 0, None, 27))
        assert len(messages) >= 2
        for connection, _, raw in messages:
            message: Any = reader.deserialize(raw, connection.msgtype)
            image = cv2.imdecode(message.data, cv2.IMREAD_REDUCED_COLOR_2)
            assert image is not None
            theirs, ours = shared_boundaries(image, 100.0, 0.8)
            assert theirs > 0.8
            assert ours > 0.7


def test_a_larger_scale_joins_components_of_the_smaller() -> None:
    image = drawn_scene(3)
    fine, middle, coarse = felzenszwalb(image, [30.0, 100.0, 300.0], 0.8, 0)
    [(alone, _)] = felzenszwalb(image, [30.0], 0.8, 0)
    np.testing.assert_array_equal(fine[0], alone)
    for (inner, count), (outer, fewer) in itertools.pairwise((fine, middle, coarse)):
        assert fewer < 0.8 * count
        # Each component lies within one component of the larger scale.
        assert len(np.unique(inner.astype(np.int64) * fewer + outer)) == count


def test_min_size_holds_and_every_superpixel_is_connected() -> None:
    [(labels, count)] = felzenszwalb(drawn_scene(4), [20.0], 0.8, 80)
    assert np.bincount(labels.ravel()).min() >= 80
    pieces = 0
    for label in range(count):
        pieces += (
            cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)[0] - 1
        )
    assert pieces == count


def test_any_memory_layout_gives_the_same_and_is_left_as_it_was() -> None:
    image = drawn_scene(5)
    [(expected, _)] = felzenszwalb(image, [100.0], 0.8, 50)
    wide = np.zeros((240, 640, 4), np.uint8)
    wide[:, ::2, :3] = image
    frozen = image.copy()
    frozen.flags.writeable = False
    for same in (wide[:, ::2, :3], np.asfortranarray(image), frozen, image[..., ::-1]):
        before = same.copy()
        [(labels, _)] = felzenszwalb(same, [100.0], 0.8, 50)
        np.testing.assert_array_equal(same, before)
        if same.strides[-1] > 0:
            np.testing.assert_array_equal(labels, expected)
        else:  # reversed channels are summed in another order, and round differently
            assert adjusted_rand_index(labels, expected) > 0.99


def test_a_smoothing_wider_than_the_image_is_mirrored_at_its_borders() -> None:
    image = np.random.default_rng(6).integers(0, 256, (3, 5, 3), np.uint8)
    [(labels, count)] = felzenszwalb(image, [1.0], sigma=4.0, min_size=0)
    opencv = opencv_labels(image, 4.0, 1.0, 0)
    np.testing.assert_array_equal(labels, opencv)
    assert count == opencv.max() + 1


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
    ],
    ids=['no rows', 'no columns', 'grey', 'four channels', 'float'],
)
def test_an_image_that_does_not_fit_is_named(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r'superpixels need an image .*got.*;') as error:
        felzenszwalb(image, [100.0], 0.8, 50)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('scales', 'sigma', 'min_size', 'name'),
    [
        ([], 0.8, 50, 'scale'),
        ([100.0, 0.0], 0.8, 50, 'scale'),
        ([float('nan')], 0.8, 50, 'scale'),
        ([1e9], 0.8, 50, 'scale'),
        ([100.0, 30.0], 0.8, 50, 'scale.*ascending'),
        ([100.0], -1.0, 50, 'sigma'),
        ([100.0], float('nan'), 50, 'sigma'),
        ([100.0], 0.8, -1, 'min_size'),
    ],
)
def test_a_parameter_out_of_range_is_named(
    scales: list[float], sigma: float, min_size: int, name: str
) -> None:
    with pytest.raises(ParameterError, match=name):
        felzenszwalb(np.zeros((8, 8, 3), np.uint8), scales, sigma, min_size)


def test_largest_weights_and_scale_do_not_overflow() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    (halves, _), (whole, _) = felzenszwalb(image, [400.0, 50_000.0], 0, 0)
    np.testing.assert_array_equal(halves, np.repeat([[0, 1]], 4, axis=1).repeat(8, axis=0))
    assert not whole.any()
