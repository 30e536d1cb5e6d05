"""PandaSet's tables: a sweep's points, their classes, boxes around objects."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError, MotionError
from drive_segment_ros.perception.beams import BeamTable
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.transforms import inverse
from offline_training.bags.published.drive import SweepPoints
from offline_training.bags.published.poses import Poses, as_measured
from offline_training.bags.published.sets.pandas_files import read_table

_TABLES = ('.gz', '.pkl')
# Which LiDAR a point is of, in column d: 0 is the Pandar64, 1 the PandarGT.
_SPINNING = 0
# A point this far outside a box is of it, metres.
_BOX_MARGIN = 0.05


def tables(folder: Path) -> dict[int, Path]:
    """Return the tables of a folder by their numbers."""
    if not folder.is_dir():
        return {}
    found = {
        int(path.name.partition('.')[0]): path
        for path in folder.iterdir()
        if path.suffix in _TABLES and path.name.partition('.')[0].isdecimal()
    }
    return dict(sorted(found.items()))


@dataclasses.dataclass(frozen=True)
class LidarFrame:
    """Where the LiDAR is.

    Attributes:
        poses: of base_link, covering all sweeps.
        origin: (3,) metres, where odom is in the world; it has the world's axes.
        T_base_lidar: (4, 4).
    """

    poses: Poses
    origin: NDArray[np.float64]
    T_base_lidar: NDArray[np.float64]

    def measured(
        self, world: NDArray[np.float64], time: NDArray[np.float64], stamp_ns: int
    ) -> NDArray[np.float32]:
        """Return points of the world where the LiDAR measured them.

        Args:
            world: (N, 3) metres.
            time: (N,) seconds after the stamp.
            stamp_ns: nanoseconds.
        """
        T = inverse(self.poses.trajectory.pose(stamp_ns) @ self.T_base_lidar)
        xyz = (world - self.origin) @ T[:3, :3].T + T[:3, 3]
        return as_measured(xyz, time, stamp_ns, self.poses, self.T_base_lidar)


@dataclasses.dataclass(frozen=True)
class SweepTable:
    """The spinning LiDAR's rows of a sweep.

    Attributes:
        world: (N, 3) metres.
        intensity: (N,).
        time: (N,) seconds after the stamp.
        rows: (M,) which of the file's rows are of that LiDAR.
    """

    world: NDArray[np.float64]
    intensity: NDArray[np.float32]
    time: NDArray[np.float64]
    rows: NDArray[np.bool_]

    @staticmethod
    def read(path: Path, stamp_ns: int) -> SweepTable:
        table = read_table(path)
        missing = [name for name in ('x', 'y', 'z', 'i', 't', 'd') if name not in table]
        if missing:
            raise DatasetError(f'{path} has no column {missing[0]}; it is skipped')
        try:
            values = {
                name: np.asarray(table[name], np.float64)
                for name in ('x', 'y', 'z', 'i', 't', 'd')
            }
        except (TypeError, ValueError) as err:
            raise DatasetError(f'{path} has a value that is not a number; it is skipped') from err
        known = np.isfinite(np.stack([values[name] for name in 'xyzt'])).all(axis=0)
        rows = known & (values['d'] == _SPINNING)
        if not rows.any():
            raise DatasetError(f'{path} has no point of the spinning LiDAR; it is skipped')
        return SweepTable(
            np.stack([values[name][rows] for name in 'xyz'], 1),
            values['i'][rows].astype(np.float32),
            # In two steps: float64 seconds since 1970 are 240 ns coarse.
            (values['t'][rows] - stamp_ns // 1_000_000_000) - stamp_ns % 1_000_000_000 * 1e-9,
            rows,
        )


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """Reads a sweep and its labels, if it has any; it can be pickled."""

    path: Path
    stamp_ns: int
    frame: LidarFrame
    beams: BeamTable | None
    semseg: Path | None
    cuboids: Path | None

    def __call__(self) -> SweepPoints:
        table = SweepTable.read(self.path, self.stamp_ns)
        try:
            xyz = self.frame.measured(table.world, table.time, self.stamp_ns)
        except MotionError as err:
            raise DatasetError(f'{self.path}: {err}; it is skipped') from err
        ring = None
        if self.beams is not None:
            x, y, z = np.ascontiguousarray(xyz.T)
            found = self.beams.ring(PointCloud(self.stamp_ns, '', x, y, z))
            ring = np.maximum(found, 0).astype(np.uint16)
        points = SweepPoints(xyz, table.intensity, table.time.astype(np.float32), ring)
        if self.semseg is None:
            return points
        classes = _read_classes(self.semseg, len(table.rows))[table.rows]
        instance = None
        if self.cuboids is not None:
            instance = _in_boxes(table.world, self.cuboids)
        return dataclasses.replace(points, semantic=classes, instance=instance)


def _read_classes(path: Path, points: int) -> NDArray[np.uint8]:
    table = read_table(path)
    if 'class' not in table or len(table) != points:
        raise DatasetError(
            f'{path} has {len(table)} rows, its sweep {points} points; the sweep is skipped; '
            'download both again'
        )
    try:
        return np.asarray(table['class']).astype(np.float64).clip(0, 255).astype(np.uint8)
    except (TypeError, ValueError) as err:
        raise DatasetError(f'{path} has an invalid class; its sweep is skipped') from err


def _in_boxes(world: NDArray[np.float64], path: Path) -> NDArray[np.uint16]:
    """Return the number of the box that each point is in, 0 for none; the smallest of several."""
    boxes = read_table(path)
    instance = np.zeros(len(world), np.uint16)
    names = ['position.x', 'position.y', 'position.z']
    sizes = ['dimensions.x', 'dimensions.y', 'dimensions.z']
    if any(name not in boxes for name in (*names, *sizes, 'yaw', 'uuid')):
        raise DatasetError(f'{path} lacks columns of boxes; its sweep is skipped')
    if 'cuboids.sensor_id' in boxes:
        # Moving objects that both LiDARs see have a box of each.
        boxes = boxes[np.asarray(boxes['cuboids.sensor_id'], np.int64) <= _SPINNING]
    number = _numbers_of_boxes(path.parent)
    middle = np.asarray(boxes[names], np.float64).reshape(-1, 3)
    half = np.asarray(boxes[sizes], np.float64).reshape(-1, 3) / 2.0 + _BOX_MARGIN
    yaw, uuid = np.asarray(boxes['yaw'], np.float64), [str(name) for name in boxes['uuid']]
    for k in np.argsort(-half.prod(axis=1), kind='stable'):
        near = np.flatnonzero((np.abs(world - middle[k]) <= np.linalg.norm(half[k])).all(axis=1))
        away = world[near] - middle[k]
        cosine, sine = np.cos(yaw[k]), np.sin(yaw[k])
        along = np.stack(
            [cosine * away[:, 0] + sine * away[:, 1], cosine * away[:, 1] - sine * away[:, 0]], 1
        )
        inside = (np.abs(along) <= half[k, :2]).all(axis=1) & (np.abs(away[:, 2]) <= half[k, 2])
        instance[near[inside]] = number[uuid[k]]
    return instance


@functools.lru_cache(maxsize=4)
def _numbers_of_boxes(folder: Path) -> Mapping[str, int]:
    """Return a number for each object of a sequence; all frames' boxes are read."""
    names: dict[str, None] = {}
    for path in tables(folder).values():
        names |= dict.fromkeys(str(name) for name in read_table(path).get('uuid', ()))
    return {name: number + 1 for number, name in enumerate(names)}
