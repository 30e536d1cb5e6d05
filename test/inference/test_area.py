"""Shrinking by averaging areas: OpenCV's result, whatever the factors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from drive_segment_ros.inference.area import shrink

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

    result = shrink(image, *smaller)

    assert result.dtype == np.uint8
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01 or smaller == (1, 1)


def test_black_and_white_stay():
    for value in (0, 255):
        image = np.full((50, 70, 3), value, np.uint8)

        assert (shrink(image, 33, 44) == value).all()


def test_a_view_of_a_larger_image():
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    view = image[5:45, 10:70]

    assert (shrink(view, 24, 32) == shrink(view.copy(), 24, 32)).all()
