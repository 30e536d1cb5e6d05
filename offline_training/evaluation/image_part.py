"""A part of the images of a source, segmented by a worker as one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Number of images that a network on a CPU segments in some seconds.
IMAGES_A_PART = 32
# A relative path without suffix, and (H, W, 3) uint8 BGR.
NamedImage = tuple[str, NDArray[np.uint8]]
Wanted = Callable[[str], bool]


class ImagePart(Protocol):
    """Some of a source's images; small, and can be pickled."""

    @property
    def count(self) -> int:
        """Number of images, estimated if the source does not provide it."""

    def images(self, skipped: list[str], wanted: Wanted) -> Iterator[NamedImage]:
        """Yield the wanted images with their names.

        Args:
            skipped: receives a line for each image that cannot be read, which is skipped.
            wanted: whether the image with a given name is wanted.

        Raises:
            BagError, ImageError: if no image can be read.
        """

    def __str__(self) -> str:
        """Return a description for messages."""
