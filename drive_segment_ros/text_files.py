"""Safe reading of untrusted JSON and YAML within limits.

Both raise ValueError with a one-line reason for invalid content; callers add the file's name and
choose the error class.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from drive_segment_ros.storage import is_remote, read_whole

# Written by hand or by this package; a calibration of a hundred cameras has 100 kB.
LARGEST_YAML, LARGEST_JSON = 1_000_000, 100_000_000
# Largest nesting of lists and mappings, and number of a YAML's entries with aliases expanded.
DEEPEST, MOST_ENTRIES = 40, 20_000
# Python needs time quadratic in the digits, and refuses to print long numbers.
_LONGEST_NUMBER = 40
_INTEGER = re.compile(r'[-+]?(0|[1-9][0-9]*)$')
_FLOAT = re.compile(
    r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$'
)
_TAG = 'tag:yaml.org,2002:'


def read_yaml(path: Path) -> Any:
    """Read a YAML file, see `parse_yaml`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a file, too large, or rejected by `parse_yaml`.
    """
    return parse_yaml(read_bytes(path, LARGEST_YAML).decode())


def read_json(path: Path) -> Any:
    """Read a JSON file, see `parse_json`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a file, too large, or rejected by `parse_json`.
    """
    return parse_json(read_bytes(path, LARGEST_JSON))


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a file of limited size; pipes and devices, which may never end, are rejected.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a file, or too large.
    """
    if is_remote(path):
        return read_whole(path, largest)
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError('it is a folder, pipe or device, not a file')
        if status.st_size > largest:
            raise ValueError(f'it has {status.st_size} bytes, more than the limit of {largest}')
        with open(opened, 'rb', closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(opened)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; NaN, infinity, too long numbers and deep nesting are rejected.

    Raises:
        ValueError: with the reason, in one line.
    """
    try:
        content = json.loads(
            text, parse_int=_integer, parse_float=_finite, parse_constant=_no_number
        )
    except RecursionError:
        raise ValueError('lists and objects are nested too deeply') from None
    data = text.encode() if isinstance(text, str) else text
    # Few brackets cannot be nested deeply, so that usually the content need not be checked.
    if data.count(b'[') + data.count(b'{') > DEEPEST:
        _check_depth(content, 1)
    return content


def parse_yaml(text: str) -> Any:
    """Parse YAML by its safe schema, with the numbers of YAML 1.2 (10:45 is text, 1e-3 is none).

    Raises:
        ValueError: with the reason, in one line: no YAML, nested too deeply, or too large once
            its aliases are spelt out.
    """
    import yaml

    if len(text) > LARGEST_YAML:
        raise ValueError(f'it has {len(text)} characters, more than the limit of {LARGEST_YAML}')
    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as err:
        raise ValueError(' '.join(str(err).split())) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as err:
        # PyYAML accepts some values that do not fit their tag.
        raise ValueError(f'a value is not of its type: {err}') from None
    finally:
        if loader is not None:
            loader.dispose()


def dump_yaml(content: Any, **style: Any) -> str:
    """Return YAML from which `parse_yaml` reads the same content.

    Args:
        content: plain values.
        style: options of `yaml.dump`.
    """
    import yaml

    return yaml.dump(content, Dumper=_dumper(), **style)


def inside(folder: Path, name: Any, what: str) -> Path:
    """Return the path of a file named in an untrusted file.

    Args:
        folder: that must contain it.
        name: a relative path without `..`.
        what: its description for the message.

    Raises:
        ValueError: if it is not a path, or leads out of the folder.
    """
    if not isinstance(name, str) or not name or '\0' in name:
        raise ValueError(f'{what} {shown(name)} is not a path')
    path = Path(name)
    if path.is_absolute() or '..' in path.parts:
        raise ValueError(f'{what} {shown(name)} leads out of the folder')
    return folder / path


def shown(value: Any) -> str:
    """Return an untrusted value for a message: short, in one line, printable."""
    text = f'{value[:60]!r}' if isinstance(value, str) else f'of type {type(value).__name__}'
    return f'{text}...' if isinstance(value, str) and len(value) > 60 else text


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f'a number of {len(digits)} digits is invalid')
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f'{digits[:20]} is not a number')
    return value


def _check_depth(content: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError('lists and objects are nested too deeply')
    if isinstance(content, dict | list):
        for one in content.values() if isinstance(content, dict) else content:
            _check_depth(one, depth + 1)


def _no_number(name: str) -> float:
    raise ValueError(f'{name} is not a number')


def _check_size(node: Any, sizes: dict[int, int]) -> int:
    """Return the number of entries of a node with aliases expanded."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        if node.tag in (f'{_TAG}int', f'{_TAG}float') and len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f'a number of {len(node.value)} digits is invalid')
        return 1
    known = sizes.get(id(node))
    if known == 0:
        raise ValueError('a list or mapping contains itself')
    if known is not None:
        return known
    sizes[id(node)] = 0
    pairs = node.value if isinstance(node, yaml.MappingNode) else [(one,) for one in node.value]
    size = 1 + sum(_check_size(one, sizes) for pair in pairs for one in pair)
    if size > MOST_ENTRIES:
        raise ValueError(f'it has more than {MOST_ENTRIES} entries with aliases expanded')
    sizes[id(node)] = size
    return size


@functools.cache
def _loader() -> Any:
    """Return YAML's safe loader with the numbers of YAML 1.2.

    By YAML 1.1, as PyYAML reads it, the slice 10:45 is 645, and 1e-3 is text.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        entries = depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.entries += 1
            self.depth += 1
            if self.entries > MOST_ENTRIES or self.depth > DEEPEST:
                raise ValueError(
                    f'it has more than {MOST_ENTRIES} entries'
                    if self.entries > MOST_ENTRIES
                    else 'lists and mappings are nested too deeply'
                )
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    Loader.yaml_implicit_resolvers = _resolvers()
    return Loader


@functools.cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.yaml_implicit_resolvers = _resolvers()
    return Dumper


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    import yaml

    numbers = {f'{_TAG}int': _INTEGER, f'{_TAG}float': _FLOAT}
    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in numbers]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in '-+.0123456789':
        resolvers.setdefault(first, []).extend(numbers.items())
    return resolvers
