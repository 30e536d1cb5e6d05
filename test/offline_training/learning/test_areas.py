from types import SimpleNamespace

import numpy as np

from offline_training.areas import NO_AREA, RAISED, ROAD, SKY, areas, raised_persists

OBJECT, GROUND, HEAVEN = range(3)


def proposals(kinds, ids=None):
    count = len(kinds)
    return {
        'id': np.arange(1, count + 1, dtype=np.uint16) if ids is None else np.array(ids),
        'kind': np.array(kinds, np.uint8),
    }


def frame_of(*rows):
    """A frame of road (1), raised ground (2) and an object (3)."""
    return SimpleNamespace(
        segment=lambda: np.array(rows, np.uint16),
        proposals=lambda: proposals([GROUND, GROUND, OBJECT]),
    )


def test_the_lower_number_is_the_road():
    found = areas(proposals([OBJECT, GROUND, HEAVEN, GROUND], ids=[9, 4, 3, 2]))

    assert found.tolist() == [NO_AREA, RAISED, SKY, ROAD]


def test_ground_of_one_level_is_road():
    assert areas(proposals([GROUND, OBJECT])).tolist() == [ROAD, NO_AREA]
    assert areas(proposals([OBJECT])).tolist() == [NO_AREA]


def test_a_pavement_persists():
    pavement = frame_of([1, 1, 1, 2, 2], [1, 1, 1, 2, 2])
    hidden = frame_of([1, 1, 1, 2, 2], [1, 1, 1, 3, 3])

    assert raised_persists([[pavement, hidden, pavement]])


def test_ground_that_rises_and_falls_does_not_persist():
    flat, risen = frame_of([1, 1, 1, 1, 2]), frame_of([1, 1, 2, 2, 2])

    assert not raised_persists([[flat, risen, flat, risen]])


def test_drives_are_not_compared_with_each_other():
    flat, risen = frame_of([1, 1, 1, 1, 2]), frame_of([1, 1, 2, 2, 2])

    assert raised_persists([[flat, flat], [risen, risen]])
