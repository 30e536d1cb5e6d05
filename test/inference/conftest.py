"""An image for the small model of `test/conftest.py`."""

from __future__ import annotations

import numpy as np
import pytest

HEIGHT, WIDTH = 8, 12


@pytest.fixture
def image() -> np.ndarray:
    """An image of the model's size whose strongest channel is never in doubt."""
    random = np.random.default_rng(0)
    image = random.integers(0, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    strongest = random.integers(0, 3, (HEIGHT, WIDTH, 1))
    np.put_along_axis(image, strongest, np.uint8(200), axis=2)
    return image
