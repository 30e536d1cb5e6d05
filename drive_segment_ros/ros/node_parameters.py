"""Parameter dataclasses as ROS parameters, and as the YAML files that set them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.parameters import ParameterInfo, describe, from_flat, to_flat

T = TypeVar('T')
_LINE_LENGTH = 99
_UNCONFIGURED = 'unconfigured'
# Declared by ROS only where they are used.
_OF_ROS_ITSELF = ('qos_overrides.', 'start_type_description_service')


class NodeParameters(Generic[T]):
    """The parameters of a node, declared from a dataclass and kept consistent with it.

    Created once, in the node's constructor: parameters persist across lifecycle states.

    Attributes:
        values: the current values; replaced, never modified, when a parameter is set.
    """

    def __init__(
        self,
        node: Any,
        cls: type[T],
        state: Callable[[], str],
        on_change: Callable[[T], None] | None = None,
    ) -> None:
        """Declare every field on the node and read values from launch files or the command line.

        Args:
            node: rclpy node.
            cls: parameter dataclass; nested ones get dotted names.
            state: returns the lifecycle's; parameters that are not dynamic may be set only while
                the node is `unconfigured`.
            on_change: called with the new values when a parameter was set; a
                ParameterError from it rejects the change.

        Raises:
            ParameterError: if a value that was set has a wrong type or is out of range.
        """
        self._cls = cls
        self._state = state
        self._infos = {info.name: info for info in describe(cls)}
        self._on_change = on_change
        for info in self._infos.values():
            if not node.has_parameter(info.name):
                _declare(node, info)
        flat = {
            name: _plain(info, node.get_parameter(name).value)
            for name, info in self._infos.items()
        }
        self.values = from_flat(cls, flat)
        _warn_of_unknown(node)
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: Sequence[Any]) -> Any:
        """Check a change and apply it; called by the node before it stores the values."""
        from rcl_interfaces.msg import SetParametersResult

        flat = to_flat(self.values)
        ours = [parameter for parameter in parameters if parameter.name in self._infos]
        try:
            for parameter in ours:
                info = self._infos[parameter.name]
                before, flat[info.name] = flat[info.name], _plain(info, parameter.value)
                if flat[info.name] != before:
                    self._check_state(info)
            values = from_flat(self._cls, flat)
            if ours and self._on_change is not None:
                self._on_change(values)
        except ParameterError as err:
            return SetParametersResult(successful=False, reason=str(err))
        self.values = values
        return SetParametersResult(successful=True)

    def _check_state(self, info: ParameterInfo) -> None:
        state = self._state()
        if info.dynamic or state == _UNCONFIGURED:
            return
        first = {'active': 'deactivate it and clean it up', 'inactive': 'clean it up'}.get(state)
        advice = f'; {first} first' if first else ''
        raise ParameterError(f'{info.name} cannot change while the node is {state}{advice}')


def _warn_of_unknown(node: Any) -> None:
    """Warn of values for unknown parameters, which ROS ignores silently."""
    # rclpy has no public interface for this.
    given = getattr(node, '_parameter_overrides', {})
    unknown = [
        name
        for name in given
        if not node.has_parameter(name) and not name.startswith(_OF_ROS_ITSELF)
    ]
    if unknown:
        node.get_logger().warning(f'ignored, not parameters of this node: {", ".join(unknown)}')


def yaml_for(cls: type, node_name: str) -> str:
    """Return a ROS parameter file with every parameter, its default and meaning.

    Args:
        cls: parameter dataclass.
        node_name: the file's key, such as `proposals_node` or `/**`.
    """
    lines = [f'{_yaml_text(node_name)}:', '  ros__parameters:']
    open_groups: list[str] = []
    for info in describe(cls):
        *groups, name = info.name.split('.')
        shared = 0
        while groups[: shared + 1] == open_groups[: shared + 1] and shared < len(groups):
            shared += 1
        for depth in range(shared, len(groups)):
            lines.append(f'{"  " * (2 + depth)}{groups[depth]}:')
        open_groups = groups
        indent = '  ' * (2 + len(groups))
        lines += textwrap.wrap(
            _explained(info),
            _LINE_LENGTH,
            initial_indent=f'{indent}# ',
            subsequent_indent=f'{indent}# ',
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines.append(f'{indent}{name}: {_yaml_value(info.default)}')
    return '\n'.join(lines) + '\n'


def _explained(info: ParameterInfo) -> str:
    """Return the help with unit, range, choices, and whether it may change while running."""
    text = info.help[:1].upper() + info.help[1:].rstrip('.') + '.'
    facts = _constraints(info)
    if info.dynamic:
        facts.append('may change while running')
    return f'{text} [{"; ".join(facts)}]' if facts else text


def _constraints(info: ParameterInfo) -> list[str]:
    facts = []
    unit = f' {info.unit}' if info.unit else ''
    if info.minimum is not None and info.maximum is not None:
        facts.append(f'{info.minimum:g} to {info.maximum:g}{unit}')
    elif info.minimum is not None:
        facts.append(f'at least {info.minimum:g}{unit}')
    elif info.maximum is not None:
        facts.append(f'at most {info.maximum:g}{unit}')
    elif info.unit:
        facts.append(info.unit)
    if info.choices:
        facts.append(' | '.join(info.choices))
    return facts


def _declare(node: Any, info: ParameterInfo) -> None:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    from rclpy.exceptions import (
        InvalidParameterException,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    )

    descriptor = ParameterDescriptor(
        description=_explained(info),
        additional_constraints='; '.join(
            [*_constraints(info), *([] if info.dynamic else ['set only while unconfigured'])]
        ),
        # `1` for `1.0`, an empty list, and a number for a text parameter have another type in
        # ROS; `from_flat` accepts them.
        dynamic_typing=info.type in (float, list, str),
    )
    if info.minimum is not None and info.maximum is not None:
        if info.type is int:
            limits = IntegerRange(from_value=int(info.minimum), to_value=int(info.maximum))
            descriptor.integer_range = [limits]
        elif info.type is float:
            bounds = FloatingPointRange(
                from_value=float(info.minimum), to_value=float(info.maximum)
            )
            descriptor.floating_point_range = [bounds]
    try:
        node.declare_parameter(info.name, info.default, descriptor)
    except (
        InvalidParameterException,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as err:
        what = ' '.join(str(err).split())
        raise ParameterError(f'parameter {info.name} of {node.get_name()}: {what}') from err


def _plain(info: ParameterInfo, value: Any) -> Any:
    """Return a ROS parameter's value in the dataclass's type."""
    if info.type is str and isinstance(value, int | float):
        return str(value).lower()
    if info.type is not list or isinstance(value, str):
        return value
    # An empty list in YAML is received as an unset parameter.
    return [] if value is None else list(value)


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        text = repr(value)
        # YAML reads 1e-06 as a string: it needs a decimal point.
        return text if '.' in text else text.replace('e', '.0e')
    if isinstance(value, str):
        return _yaml_text(value)
    if isinstance(value, list):
        return f'[{", ".join(_yaml_value(item) for item in value)}]'
    return str(value)


def _yaml_text(text: str) -> str:
    if text.isidentifier() and text.lower() not in ('true', 'false', 'yes', 'no', 'on', 'off'):
        return text
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
