"""Ground truth of a drive's images: a folder of labels, or one for each camera."""

from __future__ import annotations

from pathlib import Path

from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import DatasetError
from offline_training.evaluation.ground_truth import GroundTruth, LabelledImage, folder_classes

# Where `simulate` has a camera's labels.
_SEMANTIC = 'semantic'


def load_drive_truth(drive: Drive, truth: Path) -> GroundTruth:
    """Find the labels of a drive's images.

    Args:
        drive: with images.
        truth: folder of `<camera>/<image stamp>.png` (or `<camera>/semantic/`), or of
            `<image stamp>.png` where the drive has one camera; uint8 class ids, names in
            `classes.json` there or above.

    Raises:
        DatasetError: if there is no label, or cameras have other classes.
    """
    if not truth.is_dir():
        raise DatasetError(f'{truth} is not a folder')
    pairs: list[LabelledImage] = []
    known = None
    for camera, frames in drive.cameras.items():
        folder = truth_folder(drive, camera, truth)
        if folder is None:
            continue
        labels = ((frame, folder / f'{frame.image_path.stem}.png') for frame in frames)
        found = [
            LabelledImage(frame.image_path, label) for frame, label in labels if label.is_file()
        ]
        if not found:
            continue
        named = next((f for f in (folder, truth) if (f / 'classes.json').is_file()), folder)
        classes = folder_classes(named)
        if known is not None and (known[0] != classes[0] or (known[1] != classes[1]).any()):
            raise DatasetError(f'{folder} has other classes than the cameras before it')
        known = classes
        pairs += found
    if known is None:
        raise DatasetError(
            f'no truth in {truth} belongs to a frame of {drive.path}; labels are '
            '<camera>/<stamp>.png, or <stamp>.png for one camera'
        )
    return GroundTruth(pairs, *known)


def truth_folder(drive: Drive, camera: str, truth: Path) -> Path | None:
    """Return where a camera's labels lie in a drive's truth; None if there are none."""
    folders = [truth / camera / _SEMANTIC, truth / camera]
    if len(drive.cameras) == 1:
        folders.append(truth)
    return next((folder for folder in folders if folder.is_dir()), None)
