"""Copies the gallery of classes to a run, so that they can be named without the dataset."""

from __future__ import annotations

from pathlib import Path

from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.storage import is_there, read_whole
from offline_training.common.files import write_atomic
from offline_training.pseudo_labels.gallery import GALLERY_FOLDER, picture_name
from offline_training.pseudo_labels.pseudo_classes import STATISTICS_FILE


def keep_class_pictures(labelled: Path, run: Path, classes: int) -> None:
    """Copy the picture of each class and the classes' statistics, as far as they exist.

    Args:
        labelled: a dataset's folder of pseudo-classes.
        run: folder.
        classes: their number.

    Raises:
        DatasetError: if the run cannot be written.
    """
    pictures = [f'{GALLERY_FOLDER}/{picture_name(number)}' for number in range(classes)]
    # Last, the file whose existence indicates that the pictures are complete.
    for name in (*pictures, STATISTICS_FILE):
        target = run / PSEUDO_CLASSES_FOLDER / name
        if is_there(labelled / name) and not is_there(target):
            write_atomic(target, read_whole(labelled / name))
