"""Class colours: Cityscapes names have Cityscapes colours, others are distinguishable."""

from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.perception.colours import (
    CITYSCAPES,
    UNKNOWN_COLOUR,
    class_colours,
    unnamed_colours,
)
from drive_segment_ros.perception.distinct_colours import SAFE_COLOURS, appearances


def nearest(colours):
    """Return the smallest distance between two colours, for each type of colour vision."""
    seen = appearances(colours)
    apart = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=3)
    apart[:, np.arange(len(colours)), np.arange(len(colours))] = np.inf
    return apart.min(axis=(1, 2))


def test_names_of_cityscapes_have_its_colours_however_they_are_written():
    colours = class_colours(['Sky', 'traffic_light', 'road', 'Traffic-Light'])
    assert colours == [(70, 130, 180), (250, 170, 30), (128, 64, 128), (250, 170, 30)]


def test_other_classes_have_the_colour_of_their_number_and_share_it_by_name():
    colours = class_colours(['pole', 'kiosk', 'pseudo_class_02', 'kiosk'])
    unnamed = unnamed_colours(9)
    assert colours == [CITYSCAPES['pole'], unnamed[1], unnamed[2], unnamed[1]]


def test_more_classes_change_no_colour():
    assert unnamed_colours(60)[:30] == unnamed_colours(30)


@pytest.mark.parametrize(('count', 'least'), [(8, 0.12), (30, 0.08), (255, 0.03)])
def test_colours_are_told_apart(count, least):
    colours = unnamed_colours(count)
    assert len(set(colours)) == count
    assert nearest([*colours, UNKNOWN_COLOUR])[0] > least


def test_a_few_are_told_apart_by_the_colour_blind():
    # Three times the just noticeable difference of adjacent colours.
    assert nearest(unnamed_colours(SAFE_COLOURS)).min() > 0.06


def test_they_are_equally_bright_and_none_is_taken_for_a_named_one():
    colours = unnamed_colours(60)
    lightness = appearances(colours)[0, :, 0]
    assert np.ptp(lightness) <= 0.2
    taken, given = appearances(list(CITYSCAPES.values()))[0], appearances(colours)[0]
    assert np.linalg.norm(given[:, None] - taken[None], axis=2).min() > 0.07


def test_appearance_is_that_of_published_values():
    # OKLab of pure red, B. Ottosson's reference implementation.
    assert np.abs(appearances([(255, 0, 0)])[0, 0] - [0.62796, 0.22486, 0.12585]).max() < 1e-4
    # Without red cones (protanopia), red appears as dark yellow.
    seen = appearances([(255, 0, 0)])[1, 0]
    assert seen[0] < 0.5
    assert seen[2] > 0.05
