"""A part of the images of a source, segmented by a worker as one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Some seconds' work of a network on a processor.
IMAGES_A_PART = 32
# A relative path without suffix, and (H, W, 3) uint8 BGR.
NamedImage = tuple[str, NDArray[np.uint8]]
Wanted = Callable[[str], bool]


class ImagePart(Protocol):
    """Some of a source's images; small, and can be pickled."""

    @property
    def count(self) -> int:
        """How many there are, as far as the source knows."""

    def images(self, skipped: list[str], wanted: Wanted) -> Iterator[NamedImage]:
        """Yield the wanted ones, each with its name.

        Args:
            skipped: gets a line for each image that cannot be read; the others go on.
            wanted: whether the image of a name is.

        Raises:
            BagError, ImageError: if none can be read.
        """

    def __str__(self) -> str:
        """Return what to call it in messages."""
