"""Fewer classes than were labelled, merged at inference by a merge tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.label_sets import classes_folder
from drive_segment_ros.errors import ModelError
from drive_segment_ros.storage import is_there
from offline_training.common.classes import ClassName, default_classes
from offline_training.pseudo_labels.merging import groups_of, stand_ins
from offline_training.pseudo_labels.model import MODEL_FILE, ClassModel


@dataclasses.dataclass(frozen=True)
class MergedClasses:
    """The result of merging classes.

    Attributes:
        group: (K,) merged class of each pseudo-class.
        names: of each of them.
    """

    group: NDArray[np.intp]
    names: list[ClassName]


def find_merges(path: Path, labels: str = '') -> NDArray[np.int64]:
    """Return the merge tree of a run, a stage of one, a dataset or a drive.

    Args:
        path: its folder.
        labels: the label set of a dataset or drive.

    Returns:
        (N, 2), see `ClassModel.merges`; empty without one.
    """
    folders = [
        path,
        classes_folder(path, labels),
        path.parent,
        classes_folder(path.parent, labels),
    ]
    for folder in folders:
        if is_there(folder / MODEL_FILE):
            return ClassModel.load(folder / MODEL_FILE).merges
    return np.empty((0, 2), np.int64)


def merge_to(names: Sequence[ClassName], merges: NDArray[np.integer], count: int) -> MergedClasses:
    """Merge classes until `count` are left.

    A merged class has the name of its largest member; if only others were named, that of the first
    of these.

    Raises:
        ModelError: if they cannot be merged to so few, or there are fewer.
    """
    fewest = len(names) - len(merges)
    if not fewest <= count <= len(names):
        raise ModelError(
            f'{len(names)} classes cannot be merged to {count}; choose {fewest} to {len(names)}'
            + ('' if len(merges) else ' (there is no merge tree: label and train again)')
        )
    stand_in = stand_ins(len(names), merges, count)
    unnamed = [one.name for one in default_classes(len(names))]
    merged = []
    for kept in np.unique(stand_in).tolist():
        members = [kept, *np.flatnonzero(stand_in == kept).tolist()]
        merged.append(
            next((names[m] for m in members if names[m].name != unnamed[m]), names[kept])
        )
    return MergedClasses(groups_of(len(names), merges, count), merged)


def pool_rows(
    confusion: NDArray[np.int64], merges: NDArray[np.integer], count: int
) -> NDArray[np.int64]:
    """Return the confusion matrix of predictions merged to `count` classes, or to the fewest.

    Args:
        confusion: (K + 1, C), the last row for pixels without a prediction.
        merges: (N, 2), see `find_merges`.
        count: how many classes shall be left.
    """
    classes = max(len(confusion) - 1, int(merges.max(initial=-1)) + 1)
    count = min(max(count, classes - len(merges)), classes)
    group = groups_of(classes, merges, count)[: len(confusion) - 1]
    pooled = np.zeros((count + 1, confusion.shape[1]), np.int64)
    np.add.at(pooled, group, confusion[:-1])
    pooled[-1] = confusion[-1]
    return pooled
