from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception import overlay
from drive_segment_ros.perception.proposals import KINDS

OBJECT, GROUND, SKY = (KINDS.index(name) for name in ('object', 'ground', 'sky'))


def test_palette_depends_on_id_and_kind_alone():
    short = overlay.palette(np.array([0, OBJECT, GROUND, SKY], np.uint8))
    long = overlay.palette(np.array([0, OBJECT, GROUND, SKY] + [OBJECT] * 300, np.uint8))
    assert (long[:4] == short).all()
    assert not short[0].any()


def test_neighbouring_ids_are_easily_told_apart():
    colours = overlay.palette(np.full(400, OBJECT, np.uint8)).astype(int)[1:]
    for step in (1, 2, 3):
        distance = np.abs(colours[step:] - colours[:-step]).max(axis=1)
        assert distance.min() > 50


def test_all_ground_has_one_colour_and_no_object_has_it():
    colours = overlay.palette(np.array([0, GROUND, GROUND] + [OBJECT] * 500, np.uint8))
    assert (colours[1] == colours[2]).all()
    assert not (colours[3:] == colours[1]).all(axis=1).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_unknown_pixels_keep_the_image_and_the_input_is_not_touched(seed, opacity):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (12, 20, 3), np.uint8)
    segment = random.integers(0, 4, (12, 20), np.uint16)
    before = image.copy()
    colours = overlay.palette(np.zeros(4, np.uint8))
    painted = overlay.draw_segments(image, segment, colours, opacity)
    assert (painted[segment == 0] == image[segment == 0]).all()
    assert (image == before).all()


def test_borders_are_opaque_and_insides_blended():
    image = np.full((10, 10, 3), 100, np.uint8)
    segment = np.zeros((10, 10), np.uint16)
    segment[:, :6] = 1
    colours = overlay.palette(np.zeros(2, np.uint8))
    painted = overlay.draw_segments(image, segment, colours, opacity=0.5)
    assert (painted[:9, 5] == colours[1]).all()
    expected = (100 + colours[1].astype(float)) / 2
    assert np.abs(painted[2, 2] - expected).max() <= 1


def test_image_is_brought_to_the_segments_size():
    image = np.full((40, 60, 3), 77, np.uint8)
    painted = overlay.draw_segments(
        image, np.zeros((20, 30), np.uint16), np.zeros((1, 3), np.uint8)
    )
    assert painted.shape == (20, 30, 3)
    assert (painted == 77).all()


def test_points_are_drawn_at_their_pixel_and_cut_at_the_edge():
    image = np.zeros((8, 8, 3), np.uint8)
    colours = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    overlay.draw_points(image, np.array([0.2, 5.6]), np.array([0.4, 4.0]), colours)
    assert (image[0:2, 0:2] == colours[0]).all()
    assert (image[3:6, 5:8] == colours[1]).all()
    assert np.count_nonzero(image.any(axis=2)) == 4 + 9
