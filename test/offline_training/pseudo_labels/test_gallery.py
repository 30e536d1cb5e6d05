"""Gallery tiles show a segment clearly, whatever its brightness and its place in the image."""

from __future__ import annotations

import numpy as np
import pytest

from offline_training.pseudo_labels.gallery import TILE_HEIGHT, TILE_WIDTH, tile

HEIGHT, WIDTH = 120, 200


@pytest.mark.parametrize('light', [20, 60, 200])
@pytest.mark.parametrize(
    'box',
    [(0, HEIGHT, 0, WIDTH), (50, 60, 80, 90), (100, 120, 0, 200), (0, 120, 190, 200)],
)
def test_a_segment_is_lit_and_its_surroundings_are_of_the_image(
    light: int, box: tuple[int, int, int, int]
) -> None:
    image = np.full((HEIGHT, WIDTH, 3), light, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[box[0] : box[1], box[2] : box[3]] = True

    picture = tile(image, mask)

    assert picture.shape == (TILE_HEIGHT, TILE_WIDTH, 3)
    # At least half as bright as the image: no black padding beyond its edge.
    assert picture[..., 1].min() >= light // 2


def test_a_dark_segment_is_as_light_as_its_gain_allows() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[40:80, 60:140] = True

    picture = tile(image, mask)

    assert 115 <= picture[TILE_HEIGHT // 2, TILE_WIDTH // 2, 0] <= 125
    assert 55 <= picture[2, 2, 0] <= 65
