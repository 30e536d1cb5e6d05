"""Names and colours of pseudo-classes: a small YAML file in datasets and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.model import MOST_CLASSES, class_color, class_name
from drive_segment_ros.perception.colours import unnamed_colours
from drive_segment_ros.perception.masks import colour_table
from drive_segment_ros.text_files import dump_yaml, read_yaml
from offline_training.common.files import write_atomic

CLASSES_FILE = 'classes.yaml'


@dataclasses.dataclass(frozen=True)
class ClassName:
    """Name and colour of a pseudo-class; several may share a name.

    Attributes:
        name: free text.
        color: red, green, blue, 0..255.
        thing: whether it is a thing class, not a stuff class; None if unknown.
    """

    name: str
    color: tuple[int, int, int]
    thing: bool | None = None


def default_classes(count: int) -> list[ClassName]:
    """Return numbered names and distinct colours."""
    return [
        ClassName(f'pseudo_class_{number:02d}', colour)
        for number, colour in enumerate(unnamed_colours(count))
    ]


def save_classes(path: Path, classes: list[ClassName]) -> None:
    """Write the classes' YAML, a line each, atomically."""
    lines = ['# number: name and colour (red, green, blue) of each pseudo-class']
    for index, item in enumerate(classes):
        values: dict[str, Any] = {'name': item.name, 'color': list(item.color)}
        values |= {} if item.thing is None else {'thing': item.thing}
        entry = dump_yaml(values, default_flow_style=True, width=1000)
        lines.append(f'{index}: {entry.strip()}')
    write_atomic(path, ('\n'.join(lines) + '\n').encode())


def load_classes(path: Path) -> list[ClassName]:
    """Read the classes' YAML.

    Raises:
        ModelError: if it is missing, not YAML, or its numbers are not 0, 1, 2, ...
    """
    content = _read_yaml(path)
    if set(content) != set(range(len(content))):
        raise ModelError(f'{path} must number its classes 0, 1, 2, ...')
    if len(content) > MOST_CLASSES:
        raise ModelError(f'{path} has {len(content)} classes; at most {MOST_CLASSES} are possible')
    try:
        return [_class_name(content[index]) for index in range(len(content))]
    except (KeyError, TypeError, ValueError) as err:
        raise ModelError(f'{path}: each class needs a name and a color [r, g, b]: {err}') from err


def load_names(path: Path) -> dict[int, str]:
    """Read handwritten `number: name` lines.

    Raises:
        ModelError: if it is missing or has another form.
    """
    content = _read_yaml(path)
    # YAML also reads yes and no as numbers (booleans).
    if not all(type(k) is int and isinstance(v, str) and v for k, v in content.items()):
        raise ModelError(f'{path} must have lines such as "7: road"')
    try:
        return {number: class_name(name) for number, name in content.items()}
    except ValueError as err:
        raise ModelError(f'{path}: {err}') from err


def palette(classes: list[ClassName]) -> NDArray[np.uint8]:
    """Return a colour for every label, (256, 3) uint8 RGB, grey beyond the classes."""
    return np.ascontiguousarray(colour_table([item.color for item in classes])[:, ::-1])


def _class_name(entry: Mapping[str, Any]) -> ClassName:
    thing = dict(entry).get('thing')
    if not isinstance(thing, bool | None):
        raise TypeError(f'thing is true or false, not {thing!r}')
    return ClassName(class_name(entry['name']), class_color(entry['color']), thing)


def _read_yaml(path: Path) -> dict:
    try:
        content = read_yaml(path)
    except OSError as err:
        raise ModelError(f'cannot read {path}: {err.strerror}') from err
    except ValueError as err:
        raise ModelError(f'{path} is not valid YAML: {err}') from err
    if not isinstance(content, dict):
        raise ModelError(f'{path} must have lines such as "7: ..."')
    return content
