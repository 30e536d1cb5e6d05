"""Legends: every colour of a class image is listed and drawn in its legend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR, class_colours
from drive_segment_ros.perception.legend import count_labels, legend, with_legend
from drive_segment_ros.perception.masks import colour_image, colour_table


@dataclasses.dataclass
class Named:
    name: str
    color: tuple[int, int, int]


def classes_called(*names):
    return [Named(*pair) for pair in zip(names, class_colours(names), strict=True)]


CLASSES = classes_called('road', 'kiosk', 'sky', 'road', 'pseudo_class_04')


def colours_of(picture):
    return {tuple(bgr[::-1]) for bgr in picture.reshape(-1, 3).tolist()}


def test_the_largest_comes_first_and_the_unknown_last():
    label = np.full((10, 10), IGNORE_LABEL, np.uint8)
    label[:2], label[2], label[3, :4] = 2, 0, 3
    entries = legend(count_labels(label), CLASSES)
    assert [(entry.name, entry.share, entry.numbers) for entry in entries] == [
        ('sky', 0.2, (2,)),
        ('road', 0.14, (0, 3)),
        ('unknown', 0.66, ()),
    ]
    assert entries[-1].color == UNKNOWN_COLOUR


def test_counts_of_several_pictures_add_up():
    one, two = np.zeros((2, 2), np.uint8), np.full((2, 2), 4, np.uint8)
    entries = legend(count_labels(one) + count_labels(two), CLASSES)
    assert {entry.name: entry.share for entry in entries} == {'road': 0.5, 'pseudo_class_04': 0.5}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=60),
    st.integers(1, 255),
    st.integers(0, 2**32 - 1),
)
def test_no_colour_of_a_picture_is_missing_from_its_legend(labels, count, seed):
    # Labels include numbers without a class.
    random = np.random.default_rng(seed)
    names = [f'name {random.integers(0, count)}' for _ in range(count)]
    classes = classes_called(*names)
    label = np.asarray(labels, np.uint8)[None]
    picture = colour_image(label, colour_table([item.color for item in classes]))
    entries = legend(count_labels(label), classes)
    assert {entry.color for entry in entries} == colours_of(picture)
    assert sum(entry.share for entry in entries) == pytest.approx(1.0)


@pytest.mark.parametrize('width', [90, 448, 1920])
@pytest.mark.parametrize('count', [1, 30])
def test_every_entry_is_drawn_below_the_picture(width, count):
    names = [f'class {"of a very long name " * (n % 2)}{n}' for n in range(count)]
    classes = classes_called(*names)
    label = (np.arange(width * 64).reshape(64, width) % count).astype(np.uint8)
    picture = colour_image(label, colour_table([item.color for item in classes]))
    shown = with_legend(picture, legend(count_labels(label), classes))
    assert (shown[:64] == picture).all()
    assert shown.shape[1] == width
    assert {item.color for item in classes} <= colours_of(shown[64:])


def test_names_are_written_as_far_as_they_can_be():
    blank = np.zeros((20, 400, 3), np.uint8)
    plain, accents, none = (
        with_legend(blank, legend(np.bincount([0], minlength=256), classes_called(name)))
        for name in ('Cafe', 'Café', 'kiosk')
    )
    assert (plain == accents).all()
    assert (plain.shape != none.shape) or (plain != none).any()


def test_without_anything_to_explain_the_picture_stays():
    picture = np.zeros((4, 4, 3), np.uint8)
    assert with_legend(picture, []) is picture
