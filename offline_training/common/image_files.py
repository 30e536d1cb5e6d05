"""Image files of any origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import read_image_file
from drive_segment_ros.errors import ImageError
from drive_segment_ros.storage import is_remote, read_whole
from offline_training.common.files import absolute, files_below

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')


def read_image(path: Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """Read an image file of any depth and channels as (H, W, 3) uint8 BGR.

    Args:
        path: of the file.
        upright: rotate it by its EXIF orientation, as any viewer does; wrong for images with
            labels.

    Raises:
        ImageError: if it is missing, not an image, truncated, or too large.
    """
    try:
        return read_image_file(read_whole(path), upright=upright)
    except OSError as err:
        raise ImageError(f'cannot read {path}: {err.strerror}') from err
    except ImageError as err:
        raise ImageError(f'{path} {err}') from err


def files_in(folder: Path, without: Sequence[Path] = ()) -> list[Path]:
    """Return the image files in a folder and below it, in order.

    Args:
        folder: to search.
        without: folders that are skipped.

    Raises:
        ImageError: if there is none.
    """
    others = [absolute(other) for other in without if is_remote(other) == is_remote(folder)]
    files = [
        path
        for path in files_below(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(absolute(path).is_relative_to(other) for other in others)
    ]
    if not files:
        raise ImageError(f'{folder} has no image ({", ".join(IMAGE_SUFFIXES)}) and no bag')
    return files
