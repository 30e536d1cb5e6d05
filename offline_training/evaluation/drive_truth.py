"""Ground truth of a drive's images: a folder of labels, or one for each camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.own_files import DRIVE_FILE
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import files_there
from offline_training.common.frame_selection import parse_slice
from offline_training.evaluation.ground_truth import (
    GroundTruth,
    LabelledImage,
    folder_classes,
    load_ground_truth,
)
from offline_training.evaluation.label_space import OWN, in_space

# Subfolder of a camera's labels in the output of `simulate`.
_SEMANTIC = 'semantic'


def drives_in(path: Path) -> list[Drive]:
    """Return the drives of a dataset, or the drive at a path; none if it is neither."""
    if (path / DRIVE_FILE).is_file():
        return [Drive(path)]
    return Dataset(path).drives if any(path.glob(f'*/{DRIVE_FILE}')) else []


def load_labelled(
    layout: str, images: Path, truth: Path, frames: str = '', space: str = OWN
) -> dict[str, GroundTruth]:
    """Find labelled images; those of drives by camera.

    Args:
        layout: one of `ground_truth.LAYOUTS`.
        images: folder of images; or, of layout `folder`, a drive or a dataset.
        truth: folder of labels; of a dataset of several drives one that has a folder for each.
        frames: which of the labelled images, FIRST:LAST in order of name, of each camera of each
            drive.
        space: label space of the result, see `label_space`.

    Returns:
        Labelled images by the camera's name; for images that are not of a drive, a single entry
        with an empty name.

    Raises:
        DatasetError: if no labelled image is found, or its classes are not known in that space.
    """
    chosen = parse_slice(frames)
    drives = drives_in(images) if layout == 'folder' else []
    if not drives:
        found = in_space(load_ground_truth(layout, images, truth), space)
        return {'': _chosen(found, chosen, frames)}
    of_camera: dict[str, list[GroundTruth]] = {}
    for drive in drives:
        labels = truth if len(drives) == 1 else truth / drive.name
        if len(drives) > 1 and not labels.is_dir():
            continue
        for camera, found in load_drive_truth(drive, labels).items():
            found = _chosen(in_space(found, space), chosen, frames)
            of_camera.setdefault(camera, []).append(found)
    if not of_camera:
        raise DatasetError(f'{truth} has no folder with the name of a drive of {images}')
    parts = {name: joined(dict(enumerate(found))) for name, found in of_camera.items()}
    joined(parts)
    return parts


def joined(parts: Mapping[Any, GroundTruth]) -> GroundTruth:
    """Return all labelled images of several cameras or drives.

    Raises:
        DatasetError: if their classes differ.
    """
    first, *others = parts.values()
    for part in others:
        if part.classes != first.classes or (part.number_of_id != first.number_of_id).any():
            raise DatasetError(
                f'{part.images[0].label_path.parent} has other classes than '
                f'{first.images[0].label_path.parent}'
            )
    images = [item for part in parts.values() for item in part.images]
    return dataclasses.replace(first, images=images)


def _chosen(labelled: GroundTruth, chosen: slice, frames: str) -> GroundTruth:
    images = labelled.images[chosen]
    if not images:
        raise DatasetError(
            f'frames {frames} selects none of the {len(labelled.images)} labelled images'
        )
    return dataclasses.replace(labelled, images=images)


def load_drive_truth(drive: Drive, truth: Path) -> dict[str, GroundTruth]:
    """Find the labels of a drive's images, by camera; cameras without a label are omitted.

    Args:
        drive: with images.
        truth: folder of `<camera>/<image stamp>.png` (or `<camera>/semantic/`), or of
            `<image stamp>.png` where the drive has one camera; uint8 class ids, names in
            `classes.json` there or above.

    Raises:
        DatasetError: if there is no label.
    """
    if not truth.is_dir():
        raise DatasetError(f'{truth} is not a folder')
    known = {}
    for camera, frames in drive.cameras.items():
        folder = truth_folder(drive, camera, truth)
        if folder is None:
            continue
        labels = [(frame, folder / f'{frame.image_path.stem}.png') for frame in frames]
        there = files_there(label for _, label in labels)
        found = [LabelledImage(f.image_path, label) for f, label in labels if label in there]
        if found:
            named = next((f for f in (folder, truth) if (f / 'classes.json').is_file()), folder)
            known[camera] = GroundTruth(found, *folder_classes(named))
    if not known:
        raise DatasetError(
            f'no label in {truth} belongs to a frame of {drive.path}; labels are '
            '<camera>/<stamp>.png, or <stamp>.png for one camera'
        )
    return known


def truth_folder(drive: Drive, camera: str, truth: Path) -> Path | None:
    """Return the folder of a camera's labels in a drive's truth; None if there is none."""
    folders = [truth / camera / _SEMANTIC, truth / camera]
    if len(drive.cameras) == 1:
        folders.append(truth)
    return next((folder for folder in folders if folder.is_dir()), None)
