from __future__ import annotations

import numpy as np

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR
from drive_segment_ros.perception.masks import (
    above_threshold,
    around,
    at_points,
    colour_image,
    colour_table,
    overlay,
)
from drive_segment_ros.perception.projected_points import ProjectedPoints

TABLE = colour_table([(1, 2, 3), (10, 20, 30)])


def test_colours_are_bgr_and_grey_beyond_the_classes():
    label = np.array([[0, 1], [2, IGNORE_LABEL]], np.uint8)
    grey = list(UNKNOWN_COLOUR)
    expected = [[[3, 2, 1], [30, 20, 10]], [grey, grey]]
    assert colour_image(label, TABLE).tolist() == expected
    assert colour_table([(9, 9, 9)] * 256)[IGNORE_LABEL].tolist() == grey


def test_pixels_below_the_confidence_threshold_become_unknown():
    label, confidence = np.array([[4, 5, 6]], np.uint8), np.array([[127, 128, 255]], np.uint8)
    assert above_threshold(label, confidence, 0.5).tolist() == [[IGNORE_LABEL, 5, 6]]
    assert above_threshold(label, confidence, 0.0).tolist() == [[4, 5, 6]]


def test_an_overlay_mixes_and_the_unknown_is_grey():
    picture = np.full((4, 6, 3), 100, np.uint8)
    label = np.array([[0, IGNORE_LABEL, 1]], np.uint8)
    painted = overlay(picture, label, TABLE, 0.5)
    assert painted.shape == picture.shape
    assert (painted[:, 2:4] == (100 + UNKNOWN_COLOUR[0]) // 2).all()
    assert (painted[:, 4:] == (65, 60, 55)).all()
    assert (picture == 100).all()


def test_points_take_the_nearest_pixel():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    u, v = np.float32([-0.49, 1.4, 3.49]), np.float32([2.49, 0.6, 0.0])
    zero = np.zeros(3, np.float32)
    points = ProjectedPoints(np.arange(3, dtype=np.int32), u, v, zero, zero, zero)
    assert at_points(mask, points).tolist() == [8, 5, 3]


def test_around_points_is_within_a_distance_of_one():
    u, v = np.array([2.4, 9.0], np.float32), np.array([0.0, 4.6], np.float32)
    one = np.ones(2, np.float32)
    points = ProjectedPoints(np.arange(2, dtype=np.int32), u, v, one, one, one)
    expected = np.zeros((8, 12), bool)
    expected[0:2, 1:4] = expected[4:7, 8:11] = True
    np.testing.assert_array_equal(around(points, (8, 12), 1.2, 1.2), expected)
    assert not around(points.where(np.zeros(2, bool)), (8, 12), 9.0, 9.0).any()
