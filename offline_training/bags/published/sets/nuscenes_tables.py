"""The tables of nuScenes, JSON files of rows that name each other by tokens."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DatasetError
from offline_training.bags.published.sets import set_files

LIDAR = 'LIDAR_TOP'
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Tables:
    """A version's tables, as far as they are used.

    Attributes:
        version: `v1.0-mini` and so on.
        scenes: by name.
        data: of each scene's token its cameras' and the LiDAR's files, by channel.
        poses, sensors: by token; sensors with their `channel`.
        labels: files of labels, by token of the sweep's row.
        classes: names by the number in them.
    """

    version: str
    scenes: Mapping[str, Row]
    data: Mapping[str, Mapping[str, list[Row]]]
    poses: Mapping[str, Row]
    sensors: Mapping[str, Row]
    labels: Mapping[str, str]
    classes: Mapping[int, str]


def read_rows(folder: Path, table: str, optional: bool = False) -> list[Row]:
    path = folder / f'{table}.json'
    if optional and not path.is_file():
        return []
    try:
        rows: list[Row] = json.loads(set_files.read_file(path, 'unpack the metadata'))
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError('it is no list of rows')
    except (ValueError, TypeError, RecursionError) as err:
        raise DatasetError(f'{path} is damaged: {err}; unpack the metadata again') from err
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
        wanted = {
            token
            for token, row in sensors.items()
            if row['channel'] == LIDAR or row['channel'].startswith('CAM_')
        }
        scene_of = {row['token']: row['scene_token'] for row in read_rows(folder, 'sample')}
        data: dict[str, dict[str, list[Row]]] = {}
        used = set()
        for row in read_rows(folder, 'sample_data'):
            if row['calibrated_sensor_token'] in wanted:
                channel = sensors[row['calibrated_sensor_token']]['channel']
                of_scene = data.setdefault(scene_of[row['sample_token']], {})
                of_scene.setdefault(channel, []).append(row)
                used.add(row['ego_pose_token'])
        poses = {
            row['token']: row for row in read_rows(folder, 'ego_pose') if row['token'] in used
        }
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
        raise DatasetError(f'{folder}: the tables do not belong together: {err!r}') from err
    return Tables(folder.name, scenes, data, poses, sensors, labels, classes)
