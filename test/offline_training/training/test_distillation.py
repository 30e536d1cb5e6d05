import numpy as np
import pytest
import torch

from offline_training.common.pooling import pool
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.distillation import (
    DistillationParameters,
    region_classes,
    region_map,
    soft_targets,
    teacher_probability,
)


def scene():
    """Return teacher probability, two-tone image, segment (lower left), and pseudo-label."""
    image = np.full((32, 48, 3), 60, np.uint8)
    image[:, 24:] = 190
    segment = np.zeros((32, 48), np.uint16)
    segment[16:, :24] = 7
    label = np.where(segment == 7, 2, 255).astype(np.uint8)
    probability = np.random.default_rng(0).dirichlet([1, 1, 1], (32, 48)).astype(np.float32)
    return probability, image, segment, label


def test_pool_averages_each_region():
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    means, pixels = pool(values, np.array([[0, 1, 1], [0, 2, 1]], np.int32))

    assert pixels.tolist() == [2, 3, 1]
    assert means == pytest.approx(np.array([[3, 4], [16 / 3, 19 / 3], [8, 9]]))


def test_segments_come_before_superpixels():
    _, image, segment, _ = scene()

    regions = region_map(image, segment, DistillationParameters(superpixel_scale=500.0))

    assert len(np.unique(regions[segment == 7])) == 1
    assert not set(np.unique(regions[segment == 7])) & set(np.unique(regions[segment == 0]))
    assert sorted(np.unique(regions)) == list(range(regions.max() + 1))
    # No superpixel crosses the edge between the two tones.
    assert not set(np.unique(regions[:16, :24])) & set(np.unique(regions[:16, 24:]))


def test_without_pooling_each_block_keeps_the_teachers_answer():
    probability, image, segment, label = scene()
    plain = DistillationParameters(pool_superpixels=False, pool_segments=False)

    targets = soft_targets(probability, image, segment, label, plain)

    block = targets.probability[targets.regions[0, 0]]
    assert block == pytest.approx(probability[:4, :4].mean(axis=(0, 1)), abs=1e-3)
    assert targets.weight.min() > 0.0


def test_a_segments_target_is_the_teachers_mean_and_its_own_class():
    probability, image, segment, label = scene()
    mean = probability[segment == 7].mean(axis=0)

    targets = soft_targets(
        probability, image, segment, label, DistillationParameters(pseudo_label_share=0.25)
    )

    region = targets.regions[20, 5]
    expected = 0.75 * mean + 0.25 * np.array([0, 0, 1])
    assert targets.probability[region] == pytest.approx(expected, abs=1e-3)
    assert targets.weight[region] == pytest.approx(expected.max(), abs=1e-3)
    assert targets.probability.sum(axis=1) == pytest.approx(1.0, abs=2e-3)


def test_a_teacher_of_two_minds_counts_less():
    probability, image, segment, label = scene()
    probability[:, :24] = (0.98, 0.01, 0.01)
    probability[:, 24:] = (0.34, 0.33, 0.33)

    targets = soft_targets(
        probability, image, segment, label, DistillationParameters(pseudo_label_share=0.0)
    )

    sure, unsure = (targets.weight[targets.regions[4, column]] for column in (4, 40))
    assert sure > 2 * unsure


def test_region_classes_are_shares_of_labelled_pixels():
    regions = np.array([[0, 0, 1, 1, 2]], np.int32)
    label = np.array([[2, 255, 0, 2, 255]], np.uint8)

    shares = region_classes(regions, label, 3).tolist()

    assert shares == [[0, 0, 1], [0.5, 0, 0.5], [0, 0, 0]]


def test_the_teacher_says_the_same_of_a_mirrored_image():
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(3, 32, 48, 32, depth=1, heads=2)).eval()
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)

    answer = teacher_probability(network, image)
    mirrored = teacher_probability(network, np.ascontiguousarray(image[:, ::-1]))

    assert answer.shape == (32, 48, 3)
    assert answer.sum(axis=2) == pytest.approx(1.0, abs=1e-5)
    assert mirrored[:, ::-1] == pytest.approx(answer, abs=1e-5)
