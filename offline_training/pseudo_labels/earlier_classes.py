"""Keeps numbers and names of classes when a grown dataset is labelled again.

A new class is identified with an earlier one if both models agree: most of its objects would have
belonged to the earlier class, and most objects of the earlier class now belong to it. The
assignment is one-to-one and optimal in total (Hungarian method); a class without a partner is new.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.inference.model import MOST_CLASSES
from drive_segment_ros.storage import is_there
from drive_segment_ros.what_is import not_wanted
from offline_training.common.classes import (
    CLASSES_FILE,
    ClassName,
    default_classes,
    load_classes,
)
from offline_training.pseudo_labels.assignment import track_means
from offline_training.pseudo_labels.fit import object_weight
from offline_training.pseudo_labels.model import MODEL_FILE, ClassModel
from offline_training.pseudo_labels.sampling import Sample

# Least geometric mean of both shares for two classes to be identified.
_ALIKE = 0.5


@dataclasses.dataclass(frozen=True)
class EarlierClasses:
    """The classes and names of an earlier labelling.

    Attributes:
        source: the path it was read from.
        model: the classes.
        names: of each pseudo-class.
    """

    source: Path
    model: ClassModel
    names: list[ClassName]


def load_earlier(path: Path) -> EarlierClasses:
    """Read the classes of a run, a stage of one, a dataset or a set of labels.

    Raises:
        DatasetError, ModelError: if it is not one of these, or damaged.
    """
    folders = [path, path / PSEUDO_CLASSES_FOLDER, path.parent]
    folder = next((one for one in folders if is_there(one / MODEL_FILE)), None)
    if folder is None:
        advice = 'give a dataset that was labelled, or a run that was trained on one'
        raise DatasetError(not_wanted(path, 'a labelling', advice))
    earlier = EarlierClasses(
        folder, ClassModel.load(folder / MODEL_FILE), load_classes(folder / CLASSES_FILE)
    )
    if int(earlier.model.number.max(initial=-1)) >= len(earlier.names):
        raise DatasetError(
            f'{folder / CLASSES_FILE} names {len(earlier.names)} classes, but {MODEL_FILE} '
            'beside it has more; they belong to different labellings'
        )
    return earlier


def keep_numbers(
    model: ClassModel, earlier: EarlierClasses, sample: Sample
) -> tuple[ClassModel, list[ClassName]]:
    """Give classes the numbers that they had before; new ones are appended.

    Args:
        model: the new classes.
        earlier: the earlier ones.
        sample: the sample that the new classes were fitted on.

    Returns:
        The renumbered model, and the names. An earlier pseudo-class that was not found again keeps
        number and name, has no segments, and is the first to be merged: with the class that most
        of its objects now belong to.

    Raises:
        DatasetError: if the features differ, or there are too many classes.
    """
    partner, closest = _partners(model, earlier, sample)
    new = np.flatnonzero(partner < 0)
    count = len(earlier.names) + len(new)
    if count > MOST_CLASSES:
        raise DatasetError(
            f'with the {len(earlier.names)} classes of {earlier.source} there would be {count}; '
            f'at most {MOST_CLASSES} are possible. Lower --classes, or omit --like'
        )
    number = np.where(partner < 0, 0, earlier.model.number[partner])
    number[new] = len(earlier.names) + np.arange(len(new))
    gone = np.setdiff1d(np.arange(len(earlier.model.number)), partner)
    gone = gone[closest[gone] >= 0]
    absorbed = np.stack([number[closest[gone]], earlier.model.number[gone]], axis=1)
    # Classes that had disappeared before may point to ones that have disappeared now.
    before = earlier.model.merges[~np.isin(earlier.model.merges[:, 1], earlier.model.number)]
    merges = np.concatenate([before, absorbed, number[model.merges]])
    names = [*earlier.names, *default_classes(count)[len(earlier.names) :]]
    return dataclasses.replace(model, number=number, merges=merges.astype(np.int64)), names


def _partners(
    model: ClassModel, earlier: EarlierClasses, sample: Sample
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the earlier class of each class, and the class that has most of each earlier one.

    Returns:
        (C,) index into the earlier model's `number`, -1 for a new class; and for each of those the
        index of a new class, -1 if unknown.
    """
    before = earlier.model
    partner = np.full(len(model.number), -1, np.intp)
    closest = np.full(len(before.number), -1, np.intp)
    for now, kind in enumerate(model.stuff.tolist()):
        for then in np.flatnonzero(before.stuff == kind).tolist():
            partner[now], closest[then] = then, now
    if len(model.centres) == 0 or len(before.centres) == 0:
        return partner, closest
    if model.centres.shape[1] != before.centres.shape[1]:
        raise DatasetError(
            f'the classes of {earlier.source} were found with other features; use these '
            '(--features), or omit --like'
        )
    of_objects = _shared_objects(model, before, sample)
    of_centres = _shared_centres(model, before)
    alike = np.sqrt(of_objects * of_centres)
    rows, columns = linear_sum_assignment(alike, maximize=True)
    same = alike[rows, columns] >= _ALIKE
    partner[model.objects][rows[same]] = columns[same] + len(before.stuff)
    closest[before.objects] = of_centres.argmax(axis=0) + len(model.stuff)
    return partner, closest


def _shared_objects(model: ClassModel, before: ClassModel, sample: Sample) -> NDArray[np.float64]:
    """Return the share of each class's objects that would be in each earlier class, (K, K')."""
    first = np.unique(sample.owner, return_index=True)[1]
    weight = object_weight(sample.owner, sample.pixels)

    def classes(of: ClassModel) -> NDArray[np.intp]:
        looks = of.scaling.apply(sample.features)
        means = track_means(looks, sample.owner, np.sqrt(sample.pixels))[first]
        return of.share_of(means).argmax(axis=1)

    shared = np.zeros((model.share.shape[1], before.share.shape[1]))
    np.add.at(shared, (classes(model), classes(before)), weight)
    return shared / np.maximum(shared.sum(axis=1, keepdims=True), 1e-12)


def _shared_centres(model: ClassModel, before: ClassModel) -> NDArray[np.float64]:
    """Return the share of each earlier class's clusters that is in each class, (K, K')."""
    looks = before.scaling.undone(before.centres)
    now = model.share_of(model.scaling.apply({'all': looks})).argmax(axis=1)
    shared = np.zeros((model.share.shape[1], before.share.shape[1]))
    np.add.at(shared, now, before.share * before.size[:, None])
    return shared / np.maximum(shared.sum(axis=0), 1e-12)
