import dataclasses

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
NONE = AugmentationParameters(
    **{field.name: 0.0 for field in dataclasses.fields(AugmentationParameters)}
    | {'smallest_crop': 1.0}
)


def marked_image():
    """Return an image whose grey value encodes the region, and the region map."""
    regions = (np.arange(64)[:, None] // 16 * 6 + np.arange(96) // 16).astype(np.int32)
    image = np.repeat((regions * 10).astype(np.uint8)[..., None], 3, axis=2)
    return image, regions


@given(SEEDS)
def test_image_and_regions_stay_together(seed):
    image, regions = marked_image()
    moved = dataclasses.replace(NONE, smallest_crop=0.5, flip=0.5)

    image, regions = augment(image, regions, moved, np.random.default_rng(seed))

    assert image.shape == (64, 96, 3)
    assert regions.shape == (64 // TARGET_STRIDE, 96 // TARGET_STRIDE)
    centres = image[TARGET_STRIDE // 2 :: TARGET_STRIDE, TARGET_STRIDE // 2 :: TARGET_STRIDE, 0]
    agree = np.abs(centres.astype(int) - regions * 10) <= 5
    assert agree.mean() > 0.75  # the others are on edges, where the image is interpolated


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
    always = dataclasses.replace(NONE, flip=1.0)

    flipped, cells = augment(image, regions, always, np.random.default_rng(0))

    assert (flipped == image[:, ::-1]).all()
    assert (cells == regions[::TARGET_STRIDE, ::TARGET_STRIDE][:, ::-1]).all()


@given(SEEDS)
def test_grey_keeps_no_hue(seed):
    """Changes of saturation and hue leave grey unchanged."""
    only_colour = dataclasses.replace(NONE, saturation=0.4, hue_deg=10.0)
    matrix = colour_matrix(only_colour, np.random.default_rng(seed))

    assert np.allclose(matrix @ np.array([100.0, 100.0, 100.0, 1.0]), 100.0)


def grey(value=128):
    """Return a uniform grey image and a map of one region."""
    return np.full((64, 96, 3), value, np.uint8), np.zeros((64, 96), np.int32)


@given(SEEDS)
def test_gamma_keeps_black_and_white_and_the_order_of_what_lies_between(seed):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    only = dataclasses.replace(NONE, gamma=1.0)

    image, _ = augment(ramp, np.zeros((16, 256), np.int32), only, np.random.default_rng(seed))

    assert (image[:, 0] == 0).all()
    assert (image[:, -1] == 255).all()
    assert (np.diff(image[0, :, 0].astype(int)) >= 0).all()
    # Gamma is 0.5 to 2, which maps 0.5 to at most 0.71 and at least 0.25.
    assert 63 <= image[0, 128, 0] <= 182


@given(SEEDS)
def test_white_balance_changes_one_colour_against_another(seed):
    image, _ = augment(
        *grey(), dataclasses.replace(NONE, white_balance=0.2), np.random.default_rng(seed)
    )

    assert (image == image[0, 0]).all()
    assert np.ptp(image[0, 0].astype(int)) > 0
    assert (np.abs(image[0, 0] / 128.0 - 1.0) < 0.21).all()


@given(SEEDS)
def test_shade_is_smooth_grey_and_differs_from_place_to_place(seed):
    image, _ = augment(
        *grey(60), dataclasses.replace(NONE, shading=1.0), np.random.default_rng(seed)
    )

    values = image[..., 0].astype(int)
    assert np.ptp(image, axis=2).max() == 0
    # A factor of 0.5 to 2, and the overshoot of cubic interpolation.
    assert 18 < values.min() <= values.max() < 190
    assert np.abs(np.diff(values, axis=1)).max() <= 40


def test_shade_has_both_brighter_and_darker_places():
    images = [
        augment(*grey(100), dataclasses.replace(NONE, shading=1.0), np.random.default_rng(k))[0]
        for k in range(8)
    ]

    assert min(image.min() for image in images) < 75
    assert max(image.max() for image in images) > 130


def test_erased_rectangles_have_one_colour_and_keep_their_regions():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    regions = marked_image()[1]
    always = dataclasses.replace(NONE, erase=1.0)
    shares = []
    for seed in range(50):
        erased, cells = augment(image, regions, always, np.random.default_rng(seed))
        hidden = (erased != image).any(axis=2)
        # At most three rectangles, each of one colour; the image has thousands of colours.
        assert 1 <= len(np.unique(erased[hidden], axis=0)) <= 3
        assert (cells == regions[::TARGET_STRIDE, ::TARGET_STRIDE]).all()
        shares.append(hidden.mean())
    assert min(shares) > 0.01
    assert max(shares) < 0.5
    assert np.mean(shares) > 0.08


def test_a_degraded_sample_is_out_of_focus_or_noisy():
    sharp = np.zeros((64, 96, 3), np.uint8)
    sharp[:, 48:] = 200
    always = dataclasses.replace(NONE, degraded=1.0)

    changed = [
        augment(sharp, np.zeros((64, 96), np.int32), always, np.random.default_rng(k))[0]
        for k in range(16)
    ]

    even = [image[:, :40].std() + image[:, 56:].std() for image in changed]
    assert any(spread > 0.5 for spread in even)  # noise
    assert any(spread == 0.0 for spread in even)  # blur leaves flat areas as they are
    assert all((image[:, :40] < 60).all() and (image[:, 56:] > 140).all() for image in changed)
