"""Images to try a model on: those named, or some that a run keeps."""

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
        model: of a run, the images that it keeps are taken.
        folder: of images, looked for below too; None takes the run's.
        kept: empty folder, where the run's are written.

    Raises:
        ImageError: if the folder holds no image.
    """
    if folder is not None:
        found = [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise ImageError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
        return [found[index] for index in _spread(len(found))]
    cache = next((p for p in (model, model.parent) if (p / 'cache/images').is_dir()), None)
    if cache is None:
        return []
    # Needs PyTorch's half, which an exported model does not.
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
