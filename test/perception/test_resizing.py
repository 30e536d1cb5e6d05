"""Resized images equal OpenCV's area interpolation at any factor; labels are not mixed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from drive_segment_ros.perception.resizing import (
    crop_to_aspect,
    is_distorted,
    resize_image,
    resize_labels,
)

SIZES = [
    ((540, 960), (288, 512)),
    ((37, 50), (36, 7)),
    ((24, 50), (24, 32)),
    ((30, 30), (1, 1)),
    ((9, 9), (9, 9)),
]


@pytest.mark.parametrize(('size', 'smaller'), SIZES)
def test_the_same_as_opencv(size, smaller):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    expected = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)

    result = resize_image(image, *smaller)

    assert result.dtype == np.uint8
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01 or smaller == (1, 1)


def test_black_and_white_stay():
    for value in (0, 255):
        image = np.full((50, 70, 3), value, np.uint8)

        assert (resize_image(image, 33, 44) == value).all()


def test_a_view_of_a_larger_image():
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    view = image[5:45, 10:70]

    assert (resize_image(view, 24, 32) == resize_image(view.copy(), 24, 32)).all()


def test_a_grey_image_is_averaged_as_well():
    image = np.random.default_rng(2).integers(0, 256, (40, 60)).astype(np.uint8)
    mean = image.reshape(20, 2, 30, 2).mean((1, 3))

    assert np.abs(resize_image(image, 20, 30) - mean).max() <= 0.5
    assert resize_image(image, 25, 31).shape == (25, 31)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize('size', [(25, 31), (97, 113), (40, 200), (80, 30)])
def test_a_label_is_that_at_the_pixels_centre(size, dtype):
    labels = np.random.default_rng(3).integers(0, 200, (40, 60)).astype(dtype)

    result = resize_labels(labels, *size)

    assert result.dtype == dtype
    row = ((np.arange(size[0]) + 0.5) * 40 / size[0]).astype(int)
    column = ((np.arange(size[1]) + 0.5) * 60 / size[1]).astype(int)
    assert (result == labels[row[:, None], column]).all()


@pytest.mark.parametrize(
    ('size', 'kept'),
    [
        ((40, 100, 3), (slice(None), slice(10, 90))),
        ((90, 80), (slice(25, 65), slice(None))),
        ((40, 80), (slice(None), slice(None))),
        ((1, 1), (slice(None), slice(None))),
        ((41, 80), (slice(None), slice(None))),
    ],
)
def test_the_centre_in_another_aspect_ratio(size, kept):
    image = np.arange(np.prod(size)).reshape(size)

    assert (crop_to_aspect(image, 20, 40) == image[kept]).all()


def test_rounding_to_whole_patches_does_not_distort():
    assert not is_distorted((375, 1242), 160, 512)
    assert is_distorted((375, 1242), 288, 512)
    assert is_distorted((1080, 1440, 3), 288, 512)
