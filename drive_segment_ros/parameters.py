"""Parameters as dataclasses, declared once.

The command's options, the nodes' ROS parameters, `config/*.yaml` and the tables in the docs are
generated from the same fields. A parameter dataclass has only fields declared by `parameter` and
fields that are parameter dataclasses themselves, with dotted names (`proposals.beta_deg`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from drive_segment_ros.errors import ParameterError

Scalar = bool | int | float | str
T = TypeVar('T')
_NAMES: dict[type, str] = {list: 'list of str'}


def parameter(
    default: Any,
    help: str,
    *,
    unit: str = '',
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    dynamic: bool = False,
) -> Any:
    """Declare one parameter: a dataclass field that carries its own documentation.

    Args:
        default: a bool, int, float, str or list of str; its type is the parameter's type.
        help: what it does and, if it is a choice of this package, why this value; one sentence.
        unit: SI symbol or `deg`, `px`, `ms`; empty for a pure number.
        minimum: smallest accepted value, inclusive.
        maximum: largest accepted value, inclusive.
        choices: the accepted strings; empty accepts any.
        dynamic: whether a running node accepts a change.
    """
    metadata = {
        'help': help,
        'unit': unit,
        'minimum': minimum,
        'maximum': maximum,
        'choices': tuple(choices),
        'dynamic': dynamic,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ParameterInfo:
    """One parameter: its dotted name and the arguments of `parameter`."""

    name: str
    type: type
    default: Any
    help: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    dynamic: bool


def describe(cls: type, prefix: str = '') -> Iterator[ParameterInfo]:
    """Yield every parameter of a parameter dataclass, nested ones with dotted names, in order."""
    for field in dataclasses.fields(cls):
        kind = _resolved_type(cls, field.name)
        name = prefix + field.name
        if dataclasses.is_dataclass(kind):
            yield from describe(typing.cast(type, kind), name + '.')
            continue
        default = (
            field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default
        )
        yield ParameterInfo(name=name, type=type(default), default=default, **field.metadata)


def from_flat(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a parameter dataclass from dotted names; others keep their defaults.

    Raises:
        ParameterError: on an unknown name, a wrong type or a value out of range.
    """
    known = {info.name: info for info in describe(cls)}
    for name in values:
        if name not in known:
            raise ParameterError(f'unknown parameter {name!r}; known are: {", ".join(known)}')
    checked = {name: check(known[name], value) for name, value in values.items()}
    return _build(cls, checked, '')


def to_flat(parameters: Any, prefix: str = '') -> dict[str, Any]:
    """Return the dotted names and values of a parameter dataclass instance."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if dataclasses.is_dataclass(value):
            flat.update(to_flat(value, prefix + field.name + '.'))
        else:
            flat[prefix + field.name] = value
    return flat


def check(info: ParameterInfo, value: Any) -> Any:
    """Return `value` in the parameter's type; an int is converted to float if needed.

    Raises:
        ParameterError: if type, range or choice does not fit.
    """
    if info.type is float and isinstance(value, int) and not isinstance(value, bool):
        # Too large for a float: it remains an int and is rejected as such.
        with contextlib.suppress(OverflowError):
            value = float(value)
    if type(value) is not info.type or (
        isinstance(value, list) and not all(isinstance(item, str) for item in value)
    ):
        raise ParameterError(
            f'parameter {info.name} takes {_NAMES.get(info.type, info.type.__name__)}, '
            f'got {_shortened(value)} ({type(value).__name__})'
        )
    if info.choices and value not in info.choices:
        raise ParameterError(
            f'parameter {info.name} is one of {", ".join(info.choices)}; got {value!r}'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f'parameter {info.name} is {value}, takes finite numbers only')
    if isinstance(value, (int, float)):
        if info.minimum is not None and value < info.minimum:
            raise ParameterError(f'parameter {info.name} is {value}, minimum {info.minimum}')
        if info.maximum is not None and value > info.maximum:
            raise ParameterError(f'parameter {info.name} is {value}, maximum {info.maximum}')
    return value


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + '...'


def _resolved_type(cls: type, name: str) -> Any:
    return typing.get_type_hints(cls)[name]


def _build(cls: type[T], values: Mapping[str, Any], prefix: str) -> T:
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        kind = _resolved_type(cls, field.name)
        name = prefix + field.name
        if dataclasses.is_dataclass(kind):
            arguments[field.name] = _build(typing.cast(type, kind), values, name + '.')
        elif name in values:
            arguments[field.name] = values[name]
    return cls(**arguments)
