"""Example images to try a model on: given ones, or some of a run's cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive_segment_ros.errors import ImageError
from offline_training.common.files import files_below, write_png
from offline_training.evaluation.ground_truth import IMAGE_SUFFIXES

_OFFERED = 6


def example_images(model: Path, folder: Path | None, kept: Path) -> list[Path]:
    """Return up to 6 image files.

    Args:
        model: for a run, images of its cache are used.
        folder: of images, searched recursively; None for the run's.
        kept: empty folder to which the run's are written.

    Raises:
        ImageError: if the folder has no image.
    """
    if folder is not None:
        found = [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise ImageError(f'{folder} has no image ({", ".join(IMAGE_SUFFIXES)})')
        return [found[index] for index in _spread(len(found))]
    cache = next((p for p in (model, model.parent) if (p / 'cache/images').is_dir()), None)
    if cache is None:
        return []
    # Needs PyTorch, unlike an exported model.
    from offline_training.training.frame_images import FrameImages

    images = FrameImages.kept(cache / 'cache/images')
    files = []
    for index in _spread(len(images)):
        files.append(kept / f'example_{index + 1}.png')
        write_png(files[-1], np.ascontiguousarray(images[index][..., ::-1]))
    return files


def _spread(count: int) -> list[int]:
    return sorted(
        set(np.linspace(0, count - 1, min(_OFFERED, count)).round().astype(int).tolist())
    )
