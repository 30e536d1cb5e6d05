"""Locations of pseudo-labels: the default set next to the frames, others in their own folders."""

from __future__ import annotations

import re
from pathlib import Path

from drive_segment_ros.errors import DatasetError

PSEUDO_CLASSES_FOLDER = 'pseudo_classes'
LABEL_SETS_FOLDER = 'label_sets'
PSEUDO_LABEL_FOLDER = 'pseudo_label'
_SET_NAME = re.compile(r'[A-Za-z0-9_-]{1,100}')


def check_set_name(labels: str) -> None:
    """Check that a set's name is valid for a folder; an empty name is the default set.

    Raises:
        DatasetError: if not.
    """
    if labels and not _SET_NAME.fullmatch(labels):
        raise DatasetError(
            f'{labels[:100]!r} is not a valid name of a label set; use letters, digits, _ and -'
        )


def classes_folder(dataset: Path, labels: str = '') -> Path:
    """Return the folder of the classes of a set."""
    if labels:
        return dataset / LABEL_SETS_FOLDER / labels
    return dataset / PSEUDO_CLASSES_FOLDER


def label_folder(drive: Path, camera: str, labels: str = '') -> Path:
    """Return the folder of the pseudo-labels of a set for a camera of a drive."""
    if labels:
        own = classes_folder(drive.parent, labels)
        return own / PSEUDO_LABEL_FOLDER / drive.name / camera
    return drive / camera / PSEUDO_LABEL_FOLDER
