"""Maps the classes of different sets to common ones: Cityscapes' 19, or 12 of nearly all sets."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Mapping, Sequence

import numpy as np

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.text_files import parse_yaml
from offline_training.evaluation import label_spaces
from offline_training.evaluation.ground_truth import GroundTruth

OWN = 'own'
_SPACES = 'spaces'


def space_names() -> list[str]:
    """Return the names of the label spaces, `own` (the set's classes) first."""
    return [OWN, *_spaces()]


def classes_in(space: str) -> list[str]:
    """Return the classes of a label space other than `own`."""
    return list(_spaces()[space])


def in_space(labelled: GroundTruth, space: str) -> GroundTruth:
    """Return labelled images with the classes of a label space.

    Args:
        labelled: images with the class names of a data set, by which the set is identified.
        space: one of `space_names`.

    Raises:
        DatasetError: if there is no such space, or the classes are of no known data set.
    """
    if space == OWN:
        return labelled
    if space not in _spaces():
        raise DatasetError(f'no label space {space!r}; choose from {", ".join(space_names())}')
    classes = _spaces()[space]
    targets = _targets(labelled.classes, list(_spaces()).index(space))
    number = np.full(256, IGNORE_LABEL, np.uint8)
    for own, target in enumerate(targets):
        if target is not None:
            number[own] = classes.index(target)
    # Stored for each image, so that images of data sets with different ids can be combined.
    table = number[labelled.number_of_id]
    images = [dataclasses.replace(item, number_of_id=table) for item in labelled.images]
    return GroundTruth(images, list(classes), np.arange(256).astype(np.uint8))


def _targets(names: Sequence[str], column: int) -> list[str | None]:
    """Return the class in a label space of each class of a data set; None for no class.

    The set is identified by the names. If they fit several sets, these must agree.
    """
    wanted = [_key(name) for name in names]
    found = {
        name: [table[key][column] for key in wanted]
        for name, table in _tables().items()
        if all(key in table for key in wanted)
    }
    if not found:
        name, table = max(
            _tables().items(), key=lambda item: sum(key in item[1] for key in wanted)
        )
        strange = [known for known, key in zip(names, wanted, strict=True) if key not in table]
        raise DatasetError(
            f'the classes are those of no known set (nearest {name}, which has no '
            f'{", ".join(strange[:5])}); score them with --label-space {OWN}'
        )
    first, *others = found.values()
    if any(other != first for other in others):
        raise DatasetError(
            f'the classes may be those of {" or ".join(found)}, which map them differently; '
            f'score them with --label-space {OWN}'
        )
    return first


@functools.cache
def _spaces() -> Mapping[str, list[str]]:
    spaces: Mapping[str, list[str]] = _read(_SPACES)
    return spaces


@functools.cache
def _tables() -> Mapping[str, Mapping[str, list[str | None]]]:
    """Return the classes in each label space, by data set and by key of the set's class."""
    files = importlib.resources.files(label_spaces).iterdir()
    names = sorted(file.name for file in files if file.name.endswith('.yaml'))
    return {
        name: {_key(known): targets for known, targets in _read(name).items()}
        for name in (file.removesuffix('.yaml') for file in names)
        if name != _SPACES
    }


def _read(name: str) -> dict:
    file = importlib.resources.files(label_spaces) / f'{name}.yaml'
    content: dict = parse_yaml(file.read_text(encoding='utf-8'))
    return content


def _key(name: str) -> str:
    """Return a normalised name, without differences in case and punctuation."""
    return re.sub(r'[^a-z0-9]+', ' ', name.lower()).strip()
