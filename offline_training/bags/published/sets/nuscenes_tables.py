"""The tables of nuScenes, JSON files of rows that name each other by tokens.

Two of them have millions of rows. They are gone through once, and where a scene's rows are is
kept: some ten bytes of memory a row, where the row itself takes a thousand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.staging import local_copy
from offline_training.bags.published.sets import set_files
from offline_training.bags.published.sets.json_rows import Row, each_row, rows_at

LIDAR = 'LIDAR_TOP'
_DATA, _POSES = 'sample_data', 'ego_pose'
_REMEDY = 'unpack the metadata again'


@dataclasses.dataclass(frozen=True)
class Tables:
    """A version's tables, as far as they are used.

    Attributes:
        folder: `v1.0-mini` and so on.
        scenes: by name.
        places: of each scene's token its cameras' and the LiDAR's files, by channel: where their
            rows begin.
        labelled: of each scene's token how many sweeps have labels.
        sensors: by token, with their `channel`.
        labels: files of labels, by token of the sweep's row.
        classes: names by the number in them.
    """

    folder: Path
    scenes: Mapping[str, Row]
    places: Mapping[str, Mapping[str, array[int]]]
    labelled: Mapping[str, int]
    sensors: Mapping[str, Row]
    labels: Mapping[str, str]
    classes: Mapping[int, str]

    def data(self, scene: str) -> dict[str, list[Row]]:
        """Return the rows of a scene's files, by channel.

        Args:
            scene: its token.

        Raises:
            DatasetError: if the table has changed meanwhile.
        """
        return {
            channel: _read(self.folder, _DATA, places)
            for channel, places in self.places.get(scene, {}).items()
        }

    def poses(self, tokens: Collection[str]) -> dict[str, Row]:
        """Return poses by token.

        Raises:
            DatasetError: if there are none of some tokens, or the table cannot be read.
        """
        keys, places = self._places_of_poses
        wanted = np.fromiter(map(hash, tokens), np.int64, len(tokens))
        # Others may have the same hash.
        begin, end = (np.searchsorted(keys, wanted, side) for side in ('left', 'right'))
        numbers = [k for first, last in zip(begin, end, strict=True) for k in range(first, last)]
        rows = _read(self.folder, _POSES, places[numbers].tolist())
        found = {row['token']: row for row in rows}
        lost = set(tokens) - found.keys()
        if lost:
            raise DatasetError(f'{_path(self.folder, _POSES)} has no pose {min(lost)}; {_REMEDY}')
        return found

    @functools.cached_property
    def _places_of_poses(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hashes of the poses' tokens, ascending, and where the rows begin."""
        keys, places = array('q'), array('q')
        with _damage_named(_path(self.folder, _POSES)):
            for place, row in each_row(_local(self.folder, _POSES)):
                keys.append(hash(row['token']))
                places.append(place)
        order = np.argsort(keys, kind='stable')
        return np.asarray(keys)[order], np.asarray(places)[order]


def read_rows(folder: Path, table: str, optional: bool = False) -> list[Row]:
    """Read a table of few rows; without one, nothing if it is optional.

    Raises:
        DatasetError: if it is missing or damaged.
    """
    path = _path(folder, table)
    if optional and not path.is_file():
        return []
    with _damage_named(path):
        rows: list[Row] = json.loads(set_files.read_file(path, _REMEDY))
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError('it is not a list of rows')
    return rows


@functools.lru_cache(maxsize=2)
def read_tables(folder: Path) -> Tables:
    """Read a version's tables, once a process: those of all scenes are in one file.

    Raises:
        DatasetError: if one is missing or damaged.
    """
    try:
        channels = {row['token']: row['channel'] for row in read_rows(folder, 'sensor')}
        sensors = {
            row['token']: {**row, 'channel': channels[row['sensor_token']]}
            for row in read_rows(folder, 'calibrated_sensor')
        }
        scene_of = {row['token']: row['scene_token'] for row in read_rows(folder, 'sample')}
        labels = {
            row['sample_data_token']: row['filename']
            for row in read_rows(folder, 'lidarseg', optional=True)
        }
        classes = {
            int(row['index']): str(row['name'])
            for row in read_rows(folder, 'category', optional=True)
            if labels and 'index' in row
        }
        scenes = {row['name']: row for row in read_rows(folder, 'scene')}
    except (KeyError, TypeError, ValueError) as err:
        raise DatasetError(f'{folder}: the tables are inconsistent: {err!r}') from err
    places: dict[str, dict[str, array[int]]] = {}
    labelled: Counter[str] = Counter()
    with _damage_named(_path(folder, _DATA)):
        for place, row in each_row(_local(folder, _DATA)):
            channel = sensors[row['calibrated_sensor_token']]['channel']
            if channel == LIDAR or channel.startswith('CAM_'):
                scene = scene_of[row['sample_token']]
                places.setdefault(scene, {}).setdefault(channel, array('q')).append(place)
                labelled[scene] += row['token'] in labels
    return Tables(folder, scenes, places, labelled, sensors, labels, classes)


def _read(folder: Path, table: str, places: Iterable[int]) -> list[Row]:
    with _damage_named(_path(folder, table)):
        return rows_at(_local(folder, table), places)


def _path(folder: Path, table: str) -> Path:
    return folder / f'{table}.json'


def _local(folder: Path, table: str) -> Path:
    return local_copy(_path(folder, table))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Name the table in which something is wrong."""
    try:
        yield
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror or err}; {_REMEDY}') from err
    except KeyError as err:
        raise DatasetError(
            f'{path} has a row that is inconsistent with the other tables: {err}; {_REMEDY}'
        ) from err
    except (ValueError, TypeError, RecursionError) as err:
        raise DatasetError(f'{path} is damaged: {err}; {_REMEDY}') from err
