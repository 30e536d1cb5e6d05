"""An object has moved if other frames observe its position as free."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import CALIBRATION, Box, pose, seen_from, write_boxes
from tables import table_of

from offline_training.pseudo_labels.cross_frame_matches import LEAST_APART, CrossFrameMatcher
from offline_training.pseudo_labels.motion import MOVED, STILL, UNKNOWN, moved_objects

WALL = Box(60.0, 0.0, z=1.0, wide=200.0, high=40.0, long=1.0)


def seen_through(*frames, apart=LEAST_APART):
    """Return for each row of frames (pose, boxes) in how many other frames its position is free.

    The numbers of successive frames differ by `apart`; the frames between have no pose.
    """
    matcher, first = CrossFrameMatcher(CALIBRATION), 0
    for T, boxes in frames:
        for _ in range(apart - 1):
            matcher.add(np.array([9]), {'id': np.array([1])}, np.ones((4, 4), np.uint16), None)
        segment, proposals = seen_from(T, boxes)
        matcher.add(first + np.arange(len(boxes)), proposals, segment, T)
        first += len(boxes)
    return np.bincount(matcher.seen_through(), minlength=first).tolist()


def test_what_goes_leaves_its_place_free_and_what_stands_does_not():
    standing = Box(25.0, -6.0)
    frames = [(pose(0.5 * k), [Box(20.0, 4.0 - 3.0 * k), standing, WALL]) for k in range(3)]

    assert seen_through(*frames) == [2, 0, 0] * 3
    # Frames closer than LEAST_APART are not used: a slow object has not left its position.
    assert not any(seen_through(*frames[:2], apart=LEAST_APART - 1))


def test_what_is_hidden_or_unknown_is_not_free():
    thing, before = Box(20.0, 0.0), Box(10.0, 0.0, wide=4.0, high=4.0)

    assert seen_through((pose(), [thing, WALL]), (pose(), [before, WALL]))[0] == 0
    # Without a return behind it, the position is unobserved, not free.
    assert seen_through((pose(), [thing]), (pose(), [Box(15.0, 9.0)]))[0] == 0


def test_free_are_ground_and_sky_but_beside_something_at_its_distance_nothing_is():
    thing, ground = Box(20.0, 0.0), Box(30.0, 0.0, wide=60.0, high=60.0, kind=1)

    assert seen_through((pose(), [thing, ground]), (pose(), [ground]))[0] == 1
    post = Box(20.0, 0.4, wide=0.4, high=2.0, long=0.4)
    assert seen_through((pose(), [thing, ground]), (pose(), [post, ground]))[0] == 0


def test_what_lies_on_the_ground_is_not_looked_for():
    kerb, ground = Box(20.0, 0.0, z=0.1, high=0.2), Box(30.0, 0.0, wide=60.0, high=60.0, kind=1)

    assert seen_through((pose(), [kerb, ground]), (pose(), [ground]))[0] == 0


def test_an_object_moved_where_its_places_are_mostly_free():
    track = np.array([0, 0, 1, 1, 2, 3])
    present, through = np.array([0, 2, 2, 3]), np.array([0, 0, 1, 2, 5, 5])

    moved = moved_objects(track, present, through)

    assert moved.tolist() == [MOVED, MOVED, STILL, STILL, UNKNOWN, UNKNOWN]


def test_the_table_of_a_drive_says_what_moved(tmp_path):
    write_boxes(tmp_path / 'drive', [Box(20.0, 4.0), Box(25.0, -3.0), WALL], 9, 'front')

    table = table_of(tmp_path)

    assert set(table.moved[(table.frame == 0) & (table.id < 3)]) == {STILL}
    # Frame 5 has no pose.
    assert set(table.moved[table.frame == 5]) == {UNKNOWN}
    assert not (table.moved == MOVED).any()


@pytest.mark.parametrize('objects', [0, 3])
def test_without_any_look_nothing_is_known(objects):
    nothing = np.empty(0, np.int64)

    moved = moved_objects(np.arange(objects), nothing, nothing)

    assert moved.dtype == np.int8
    assert moved.tolist() == [UNKNOWN] * objects
