import numpy as np

from offline_training.pseudo_labels.stuff_classes import NO_STUFF, RAISED, ROAD, SKY, stuff_classes

OBJECT, GROUND, HEAVEN = range(3)


def proposals(kinds, ids=None):
    count = len(kinds)
    return {
        'id': np.arange(1, count + 1, dtype=np.uint16) if ids is None else np.array(ids),
        'kind': np.array(kinds, np.uint8),
    }


def test_the_lower_number_is_the_road():
    found = stuff_classes(proposals([OBJECT, GROUND, HEAVEN, GROUND], ids=[9, 4, 3, 2]))

    assert found.tolist() == [NO_STUFF, RAISED, SKY, ROAD]


def test_of_raised_ground_alone_none_is_road():
    found = stuff_classes({**proposals([GROUND, OBJECT]), 'raised': np.array([True, False])})

    assert found.tolist() == [RAISED, NO_STUFF]
    both = stuff_classes({**proposals([GROUND, GROUND]), 'raised': np.array([False, True])})
    assert both.tolist() == [ROAD, RAISED]


def test_ground_of_one_level_is_road():
    assert stuff_classes(proposals([GROUND, OBJECT])).tolist() == [ROAD, NO_STUFF]
    assert stuff_classes(proposals([OBJECT])).tolist() == [NO_STUFF]
