"""A view of a dataset: links to its frames, with separate pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from drive_segment_ros.dataset.label_sets import PSEUDO_LABEL_FOLDER
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError


def dataset_view(dataset: Path, folder: Path) -> Path:
    """Make `folder` a dataset of all drives of `dataset`, without their pseudo-labels.

    Args:
        dataset: folder of drives; it is not changed by writing to the view.
        folder: the view; its existing pseudo-labels are kept.

    Returns:
        `folder`.

    Raises:
        DatasetError: if `dataset` is none, or the links cannot be made.
    """
    try:
        for drive in Dataset(dataset).drives:
            mirrored = folder / drive.name
            _link(drive.path, mirrored, drive.info['cameras'])
            for camera in drive.info['cameras']:
                _link(drive.path / camera, mirrored / camera, (PSEUDO_LABEL_FOLDER,))
    except OSError as err:
        raise DatasetError(
            f'cannot link the frames of {dataset} into {folder}: {err.strerror}; choose a folder '
            'on a file system with links'
        ) from err
    return folder


def _link(folder: Path, mirrored: Path, without: Iterable[str]) -> None:
    """Create a folder of links to the entries of another folder, except for some."""
    mirrored.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name not in without:
            link = mirrored / entry.name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(entry.resolve())
