from __future__ import annotations

import cv2
import numpy as np
import pytest

from drive_segment_ros.recording.quality import clipped, disagreement, sharpness


def test_blur_costs_sharpness():
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    assert sharpness(cv2.GaussianBlur(image, (0, 0), 2)) < 0.1 * sharpness(image)


def test_clipped_pixels_are_the_black_and_the_white():
    image = np.full((10, 10, 3), 128, np.uint8)
    image[:3] = 0
    image[3:5] = 255
    assert clipped(image) == pytest.approx(0.5)


def test_disagreement_is_what_the_majority_of_a_segment_leaves():
    segment = np.zeros((4, 8), np.int32)
    segment[:, :4], segment[:, 4:6] = 70_000, 1
    label = np.zeros((4, 8), np.uint8)
    label[:, 3] = 5  # a quarter of the first segment
    label[:, 6:] = 9  # outside of all segments
    assert disagreement(segment, label) == pytest.approx(4 / 24)


def test_disagreement_takes_answers_of_another_size_and_none_without_segments():
    segment = np.kron([[1, 2]], np.ones((8, 8), np.int32)).astype(np.int32)
    label = np.kron([[3, 4]], np.ones((4, 4), np.uint8)).astype(np.uint8)
    assert disagreement(segment, label) == 0.0
    assert disagreement(np.zeros((8, 8), np.uint16), label) == 0.0
