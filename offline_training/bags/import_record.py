"""The file that `import` writes to a bag's folder: origin, licence and geometry of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bag_files import is_storage
from drive_segment_ros.storage import read_whole
from drive_segment_ros.text_files import dump_yaml, parse_yaml
from offline_training.common.files import write_atomic

RECORD_FILE = 'import.yaml'


@dataclasses.dataclass(frozen=True)
class ImportRecord:
    """The origin of a bag.

    Attributes:
        set: the data set's name.
        drive: in the set.
        licence: of the set.
        weights: whether trained weights may be distributed: `yes`, `non-commercial`, `no`.
        geometry: of its clouds and cameras, see `published.geometry`.
        parameters: parameters of `extract` for these data, by name; those given by the user take
            precedence.
        notes: what is missing or implausible, one line each.
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


def record_of(bags: Sequence[Path]) -> ImportRecord | None:
    """Return the first import record of the bags of a drive; None if none was imported.

    Raises:
        BagError: as `read_record`.
    """
    records = (read_record(bag) for bag in bags)
    return next((record for record in records if record is not None), None)


def read_record(bag: Path) -> ImportRecord | None:
    """Return the import record of a bag, or of the bag of a storage file; None without one.

    Raises:
        BagError: if it is damaged.
    """
    path = (bag.parent if is_storage(bag) else bag) / RECORD_FILE
    try:
        data = read_whole(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise BagError(f'cannot read {path}: {err.strerror}') from err
    try:
        content = parse_yaml(data.decode())
        record = ImportRecord(**content)
        if not isinstance(record.parameters, dict) or not isinstance(record.geometry, dict):
            raise ValueError('parameters and geometry are lists of names and values')
    except (ValueError, TypeError) as err:
        raise BagError(f'{path} is damaged ({err}); import the drive again') from err
    return record
