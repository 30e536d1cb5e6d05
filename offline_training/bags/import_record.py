"""What `import` leaves in a bag's folder, for `extract` and for people: whose data they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.text_files import dump_yaml, parse_yaml
from offline_training.common.files import write_atomic

RECORD_FILE = 'import.yaml'


@dataclasses.dataclass(frozen=True)
class ImportRecord:
    """Where a bag is from.

    Attributes:
        set: the data set's name.
        drive: in the set.
        licence: of the set.
        weights: whether trained weights may be passed on: `yes`, `non-commercial`, `no`.
        geometry: what its clouds and cameras are like, see `published.geometry`.
        parameters: those of `extract` that follow from it, by name; what is given by a person
            goes before them.
        notes: what is missing or odd, a line each.
    """

    set: str
    drive: str
    licence: str
    weights: str
    geometry: Mapping[str, Any]
    parameters: Mapping[str, Any]
    notes: Sequence[str] = ()


def write_record(bag: Path, record: ImportRecord) -> None:
    """Write a bag's record into its folder."""
    content = dataclasses.asdict(record)
    write_atomic(bag / RECORD_FILE, dump_yaml(content, sort_keys=False, width=99).encode())


def read_record(bag: Path) -> ImportRecord | None:
    """Return the record of a bag, or of the one a file belongs to; None where it has none.

    Raises:
        BagError: if it is damaged.
    """
    path = (bag if bag.is_dir() else bag.parent) / RECORD_FILE
    if not path.is_file():
        return None
    try:
        content = parse_yaml(path.read_bytes().decode())
        record = ImportRecord(**content)
        if not isinstance(record.parameters, dict) or not isinstance(record.geometry, dict):
            raise ValueError('parameters and geometry are lists of names and values')
    except (OSError, ValueError, TypeError) as err:
        raise BagError(f'{path} is damaged ({err}); import the drive again') from err
    return record
