"""Names pseudo-classes: by hand, or from a few labelled frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from drive_segment_ros.errors import ModelError, OutputError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.perception.colours import class_colours
from offline_training.common.classes import ClassName, default_classes, load_names, save_classes
from offline_training.evaluation.evaluate import count_confusion
from offline_training.evaluation.label_space import OWN
from offline_training.training.checkpoints import classes_file, classes_of_run, load_model


def name_by_hand(model: Path, names: Path, overwrite: bool = False) -> list[ClassName]:
    """Name pseudo-classes from a YAML file of lines such as `7: road`.

    Raises:
        ModelError: if a number is no pseudo-class, or a file cannot be read.
        OutputError: if one has another name already, and `overwrite` is off.
    """
    return _rename(model, load_names(names), overwrite)


def classes_to_name(model: Path) -> list[ClassName]:
    """Return the current names and colours of a run's pseudo-classes.

    Raises:
        ModelError: if there is no run, or its names cannot be read.
    """
    _check_is_run(model)
    network, _ = load_model(model)
    return classes_of_run(model, network.configuration.classes)


def name_all(model: Path, names: Mapping[int, str]) -> list[ClassName]:
    """Replace the names of all pseudo-classes; those not in `names` get their numbers.

    Raises:
        ModelError: if a number is no pseudo-class.
    """
    own = default_classes(len(classes_to_name(model)))
    numbered = {number: item.name for number, item in enumerate(own)}
    return _rename(model, {**numbered, **names}, overwrite=True)


def name_from_labels(
    model: Path,
    images: Path,
    truth: Path,
    layout: str = 'folder',
    frames: str = '',
    overwrite: bool = False,
    label_space: str = OWN,
) -> list[ClassName]:
    """Name each pseudo-class after the class that it overlaps most on labelled frames.

    A pseudo-class that does not occur in them keeps its name.

    Args:
        model: a run.
        images, truth, layout, frames: as for `evaluate`.
        overwrite: whether existing names may be changed.
        label_space: of the names, see `label_space`.

    Raises:
        DatasetError, ModelError: as of `evaluate`.
        OutputError: as of `name_by_hand`.
    """
    _check_is_run(model)
    confusion, labelled = count_confusion(
        model, images, truth, layout, frames, label_space=label_space
    )
    seen = confusion[:-1]
    names = {
        int(number): labelled.classes[seen[number].argmax()]
        for number in np.flatnonzero(seen.any(axis=1))
    }
    return _rename(model, names, overwrite)


def renamed(classes: list[ClassName], names: Mapping[int, str]) -> list[ClassName]:
    """Return classes with new names and their colours; classes of one name share a colour."""
    named = [names.get(number, item.name) for number, item in enumerate(classes)]
    kept = {
        item.name: item.color
        for item, name in zip(classes, named, strict=True)
        if item.name == name
    }
    return [
        ClassName(name, kept.get(name, colour), item.thing)
        for item, name, colour in zip(classes, named, class_colours(named), strict=True)
    ]


def _rename(model: Path, names: Mapping[int, str], overwrite: bool) -> list[ClassName]:
    classes = classes_to_name(model)
    unknown = [number for number in names if not 0 <= number < len(classes)]
    if unknown:
        raise ModelError(
            f'{model} has pseudo-classes 0 to {len(classes) - 1}; it has no {unknown[0]}'
        )
    given = default_classes(len(classes))
    for number, name in names.items():
        if not overwrite and classes[number].name not in (given[number].name, name):
            raise OutputError(
                f'{classes_file(model)} calls pseudo-class {number} {classes[number].name}, not '
                f'{name}; keep that name, or replace it by --overwrite'
            )
    classes = renamed(classes, names)
    save_classes(classes_file(model), classes)
    return classes


def _check_is_run(model: Path) -> None:
    if (model / DESCRIPTION_FILE).is_file():
        raise ModelError(f'{model} is exported; name the classes of its run and export that again')
