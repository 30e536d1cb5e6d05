from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.perception.sky_appearance import looks_like_sky

WIDTH, HEIGHT, SPACING = 320, 180, 6.0
SKYLINE = 90


def grid(mask: np.ndarray, step: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v of points on a regular grid within a mask."""
    v, u = np.nonzero(mask)
    chosen = (v % step == 0) & (u % step == 0)
    return u[chosen].astype(np.float32), v[chosen].astype(np.float32)


def picture(sky=(215, 200, 190), houses=(40, 110), noise: float = 1.5) -> np.ndarray:
    """Return an image of a smooth sky above bricks, which fill the lower half."""
    rng = np.random.default_rng(0)
    image = np.empty((HEIGHT, WIDTH, 3), np.float64)
    image[:] = sky
    bricks = rng.uniform(*houses, (HEIGHT // 4, WIDTH // 8)).repeat(4, 0).repeat(8, 1)
    image[SKYLINE:] = bricks[SKYLINE:, :, None]
    return image + rng.normal(0.0, noise, image.shape)


def rows(first: int, last: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[first:last] = True
    return mask


def sky_of(image, clear=None, objects=None, spacing=SPACING) -> np.ndarray:
    clear = rows(0, SKYLINE) if clear is None else clear
    objects = rows(SKYLINE, HEIGHT) if objects is None else objects
    shown = np.clip(image, 0, 255).astype(np.uint8)
    return looks_like_sky(shown, grid(clear), grid(objects, 3), spacing)


@pytest.mark.parametrize(
    ('sky', 'houses'),
    [
        ((215, 200, 190), (40, 110)),  # by day
        ((190, 190, 190), (30, 150)),  # overcast
        ((9, 8, 7), (40, 160)),  # at night
        ((15, 12, 11), (1, 8)),  # underexposed
        ((255, 255, 255), (60, 235)),  # overexposed
        ((200, 120, 40), (120, 240)),  # darker than sunlit houses, but blue
    ],
)
def test_sky_is_what_its_own_image_shows_it_to_be(sky, houses):
    found = sky_of(picture(sky, houses))
    assert found[: SKYLINE - 4].mean() > 0.98
    assert found[SKYLINE + 4 :].mean() < 0.02


def test_it_ends_where_the_picture_says_and_not_where_the_points_do():
    found = sky_of(picture(), clear=rows(0, SKYLINE - 30))
    edge = found[:, WIDTH // 4 : -WIDTH // 4].sum(axis=0)
    assert np.abs(edge - SKYLINE).max() <= 1


@pytest.mark.parametrize('bridge', [(40, 60), (0, 25)])
def test_a_dark_bridge_from_which_nothing_returned_is_no_sky(bridge):
    image = picture()
    image[slice(*bridge)] *= 0.2
    found = sky_of(image)
    assert found[slice(*bridge)].mean() < 0.1
    assert found[66 : SKYLINE - 4].mean() > 0.9
    # It is darker than nearly all returns, so that only its contrast to the sky excludes it.
    assert image[slice(*bridge)].mean() < 45


def test_crowns_look_like_crowns_that_returned():
    image = picture()
    leaves = np.random.default_rng(1).uniform(20, 180, (HEIGHT, WIDTH, 1))
    image[50:, :160] = leaves[50:, :160] * [0.3, 1.0, 0.5]
    found = sky_of(image)
    assert found[50:, :156].mean() < 0.02
    assert found[: SKYLINE - 4, 164:].mean() > 0.98


def test_a_bright_facade_between_dark_windows_is_no_sky():
    image = picture((250, 250, 250))
    facade = np.where(np.arange(WIDTH) % 20 < 12, 225.0, 60.0)[:160]
    image[20:SKYLINE, :160] = facade[:, None]
    found = sky_of(image, objects=rows(SKYLINE, HEIGHT))
    assert found[26:SKYLINE, :154].mean() < 0.1
    assert found[: SKYLINE - 4, 166:].mean() > 0.98


@pytest.mark.parametrize('smooth', [True, False])
def test_a_wall_up_to_the_top_with_gaps_in_it_has_no_sky(smooth):
    image = picture((150, 152, 155), (150, 155)) if smooth else picture()
    image[:SKYLINE] = image[-SKYLINE:]
    gaps = np.zeros((HEIGHT, WIDTH), bool)
    gaps[:SKYLINE, 60:140] = True
    assert not sky_of(image, clear=gaps, objects=~gaps).any()


def test_where_every_colour_returns_as_well_nothing_is_sky():
    """In a uniformly white image, directions with and without returns look alike."""
    assert not sky_of(np.full((HEIGHT, WIDTH, 3), 255.0)).any()


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (179, 321)])
def test_any_size_and_no_points_will_do(size):
    image = np.full((*size, 3), 200, np.uint8)
    none = np.empty(0, np.float32), np.empty(0, np.float32)
    some = np.zeros(9, np.float32), np.zeros(9, np.float32)
    for clear, objects in ((none, none), (none, some), (some, none)):
        found = looks_like_sky(image, clear, objects, SPACING)
        assert found.shape == size
        assert found.dtype == bool
        assert not found.any()


def test_denser_returns_do_not_outvote_the_sky():
    image = picture((120, 110, 100), (40, 90))
    # A tenth of the rows and a twentieth of the columns of the houses have the sky's colour.
    image[SKYLINE:, ::20] = (120, 110, 100)
    image[SKYLINE : SKYLINE + 9] = (120, 110, 100)
    clear, objects = grid(rows(0, SKYLINE)), grid(rows(SKYLINE, HEIGHT), 1)
    shown = np.clip(image, 0, 255).astype(np.uint8)
    found = looks_like_sky(shown, clear, objects, SPACING)
    assert found[: SKYLINE - 4].mean() > 0.95
