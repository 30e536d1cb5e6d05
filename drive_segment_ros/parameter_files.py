"""Parameter dataclasses from YAML files and `name=value` assignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.parameters import describe, from_flat
from drive_segment_ros.text_files import parse_yaml, read_yaml

T = TypeVar('T')

_ROS_KEY = 'ros__parameters'


def read_parameters(
    cls: type[T],
    path: Path | None,
    assignments: Sequence[str] = (),
    declared: Mapping[str, Any] | None = None,
) -> T:
    """Build a parameter dataclass from a file, then assignments; the rest keeps its default.

    Args:
        cls: the dataclass.
        path: YAML with dotted or nested names, or a ROS parameter file (`node: ros__parameters:`),
            of which parameters of the node itself are ignored.
        assignments: `name=value` each, the value written as in YAML.
        declared: values by name that take precedence over the defaults only.

    Raises:
        ParameterError: if the file cannot be read, or a name or value is wrong.
    """
    types = {info.name: info.type for info in describe(cls)}
    values = dict(declared or {}) | ({} if path is None else _read(path, set(types)))
    for assignment in assignments:
        name, equals, text = assignment.partition('=')
        if not equals:
            raise ParameterError(f'{assignment!r} is not of the form name=value')
        values[name.strip()] = _parse(text, assignment)
    for name, value in values.items():
        # YAML reads 0.05 as a number, also for parameters that accept a text such as `auto`.
        if types.get(name) is str and isinstance(value, int | float):
            values[name] = str(value).lower()
    return from_flat(cls, values)


def _read(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except OSError as err:
        raise ParameterError(f'cannot read parameters {path}: {err.strerror}') from err
    except ValueError as err:
        raise ParameterError(f'{path}: not valid YAML: {err}') from err
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParameterError(f'{path} has no parameters; write name: value on each line')
    nodes = [
        node[_ROS_KEY]
        for node in content.values()
        if isinstance(node, dict) and isinstance(node.get(_ROS_KEY), dict)
    ]
    if not nodes:
        return _flat(content)
    merged = {name: value for node in nodes for name, value in _flat(node).items()}
    return {name: merged[name] for name in known if name in merged}


def _flat(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


def _parse(text: str, what: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as err:
        raise ParameterError(f'{what}: not YAML: {err}') from err
