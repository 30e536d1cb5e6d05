import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.training.class_mix import paste_rare_classes
from offline_training.training.frame_targets import (
    RegionTargets,
    pseudo_label_targets,
)

SEEDS = st.integers(0, 2**32 - 1)


def frame(brightness, label):
    """Return an image of uniform brightness and the targets of its label."""
    image = np.full((*label.shape, 3), brightness, np.uint8)
    return image, pseudo_label_targets(label, 4, *label.shape)


def road_with_person():
    """Return a label of road (0) with 1 % person (2) and 10 % unknown."""
    label = np.zeros((40, 50), np.uint8)
    label[10:14, 20:25] = 2
    label[36:] = IGNORE_LABEL
    return label


@given(SEEDS)
def test_what_is_pasted_brings_its_pixels_and_its_target(seed):
    label = road_with_person()
    # One region of class 3, so that region numbers differ between the two frames.
    everywhere = RegionTargets(
        np.zeros((40, 50), np.int32), np.eye(4, dtype=np.float16)[3:], np.ones(1, np.float32)
    )
    base = (np.full((40, 50, 3), 50, np.uint8), everywhere)

    image, target = paste_rare_classes(*base, *frame(200, label), np.random.default_rng(seed))

    pasted = image[..., 0] == 200
    answer = target.probability[target.regions].argmax(axis=-1)
    assert (image[~pasted] == 50).all()
    assert (answer[~pasted] == 3).all()
    assert (answer[pasted] == label[pasted]).all()
    assert (target.weight[target.regions] > 0).all()  # unknown pixels are not pasted
    for number in (0, 2):  # a class is pasted completely or not at all
        assert pasted[label == number].all() or not pasted[label == number].any()


def test_rare_classes_are_pasted_more_often():
    label = road_with_person()
    base = frame(50, np.full((40, 50), 3, np.uint8))
    other = frame(200, label)

    pasted = np.mean(
        [
            paste_rare_classes(*base, *other, np.random.default_rng(seed))[0][[0, 12], [0, 22], 0]
            == 200
            for seed in range(400)
        ],
        axis=0,
    )

    # The probability is 0.07 / sqrt(share of the class): 0.89 for road, 0.01 for person.
    assert abs(pasted[0] - 0.074) < 0.04
    assert abs(pasted[1] - 0.7) < 0.07


def test_a_frame_without_anything_known_gives_nothing():
    base = frame(50, np.full((40, 50), 3, np.uint8))
    unknown = frame(200, np.full((40, 50), IGNORE_LABEL, np.uint8))

    image, target = paste_rare_classes(*base, *unknown, np.random.default_rng(0))

    assert (image == 50).all()
    assert (target.probability[target.regions] == base[1].probability[3]).all()
