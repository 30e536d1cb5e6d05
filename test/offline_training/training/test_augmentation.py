import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offline_training.training.augmentation import (
    TARGET_STRIDE,
    AugmentationParameters,
    augment,
    colour_matrix,
)

SEEDS = st.integers(0, 2**32 - 1)
NONE = AugmentationParameters(1.0, flip=0.0, brightness=0.0, saturation=0.0, hue_deg=0.0)


def marked_image():
    """An image whose colour tells each region, so that both can be compared after a change."""
    regions = (np.arange(64)[:, None] // 16 * 6 + np.arange(96) // 16).astype(np.int32)
    image = np.repeat((regions * 10).astype(np.uint8)[..., None], 3, axis=2)
    return image, regions


@given(SEEDS)
def test_image_and_regions_stay_together(seed):
    image, regions = marked_image()
    unchanged_colour = AugmentationParameters(brightness=0.0, saturation=0.0, hue_deg=0.0)

    image, regions = augment(image, regions, unchanged_colour, np.random.default_rng(seed))

    assert image.shape == (64, 96, 3)
    assert regions.shape == (64 // TARGET_STRIDE, 96 // TARGET_STRIDE)
    centres = image[TARGET_STRIDE // 2 :: TARGET_STRIDE, TARGET_STRIDE // 2 :: TARGET_STRIDE, 0]
    agree = np.abs(centres.astype(int) - regions * 10) <= 5
    assert agree.mean() > 0.75  # the rest lies on edges, which the image interpolates


@given(SEEDS)
def test_a_seed_gives_one_sample(seed):
    samples = [
        augment(*marked_image(), AugmentationParameters(), np.random.default_rng(seed))
        for _ in range(2)
    ]

    assert (samples[0][0] == samples[1][0]).all()
    assert (samples[0][1] == samples[1][1]).all()


def test_nothing_asked_for_changes_nothing():
    image, regions = marked_image()

    same, cells = augment(image, regions, NONE, np.random.default_rng(0))

    assert (same == image).all()
    assert (cells == regions[::TARGET_STRIDE, ::TARGET_STRIDE]).all()


def test_flip_mirrors_both():
    image, regions = marked_image()
    always = AugmentationParameters(1.0, flip=1.0, brightness=0.0, saturation=0.0, hue_deg=0.0)

    flipped, cells = augment(image, regions, always, np.random.default_rng(0))

    assert (flipped == image[:, ::-1]).all()
    assert (cells == regions[::TARGET_STRIDE, ::TARGET_STRIDE][:, ::-1]).all()


@given(SEEDS)
def test_grey_keeps_no_hue(seed):
    """Saturation and hue turn about the grey axis: only brightness and contrast move a grey."""
    only_colour = AugmentationParameters(brightness=0.0)
    matrix = colour_matrix(only_colour, np.random.default_rng(seed))

    assert np.allclose(matrix @ np.array([100.0, 100.0, 100.0, 1.0]), 100.0)
