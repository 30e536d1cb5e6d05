import numpy as np

from offline_training.evaluation.evaluation import Matching, match, score
from offline_training.evaluation.spread import frequent_classes, spread


def image(*pixels):
    """Return the confusion matrix (K + 1, C) of one image without unpredicted pixels."""
    return np.array([*pixels, [0] * len(pixels[0])], np.int64)


def test_classes_of_few_pixels_are_set_apart():
    whole = image([9_990, 5, 4, 0])

    assert frequent_classes(whole).tolist() == [True, True, False, False]


def test_images_that_are_alike_leave_no_spread():
    counts = np.stack([image([90, 10], [20, 80])] * 5)
    matching = match(counts.sum(axis=0))

    result = spread(counts, matching)

    miou = round(score(counts.sum(axis=0), matching).strict.miou, 3)
    assert result['strict']['interval'] == [miou, miou]
    assert result['strict']['frequent_miou'] == miou
    assert result['frequent'] == 2


def test_what_hangs_on_one_image_has_a_wide_interval():
    # Class 1 is in one image of ten, where its pseudo-class also covers 1000 pixels of class 0.
    counts = np.stack([image([1000, 0], [0, 0])] * 9 + [image([0, 0], [1000, 3])])
    matching = Matching(np.array([0, 1]), np.array([0, 1]))

    result = spread(counts, matching)

    low, high = result['strict']['interval']
    assert low < 60.0
    assert high > 90.0
    # Without the rare class the interval is narrower.
    assert result['frequent'] == 1
    frequent = result['strict']['frequent_interval']
    assert frequent[1] - frequent[0] < 0.5 * (high - low)


def test_the_interval_is_the_same_each_time():
    random = np.random.default_rng(0)
    counts = random.integers(0, 100, (7, 5, 3))
    matching = match(counts.sum(axis=0))

    assert spread(counts, matching) == spread(counts, matching)
