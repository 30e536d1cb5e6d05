"""The tables of Argoverse 2, Feather files: sweeps, boxes, transforms."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError, DependencyError, MotionError
from drive_segment_ros.perception.transforms import inverse, transform_matrix
from offline_training.bags.published.drive import SweepPoints
from offline_training.bags.published.poses import Poses, as_measured
from offline_training.bags.published.sets import set_files

# Of a unit; the upper one's are 0 to 31, the lower one's follow.
LASERS = 32
# Points of labelled boxes lie on their faces.
_BOX_MARGIN = 0.05
UNLABELLED = 0
CATEGORIES = (
    *('REGULAR_VEHICLE', 'PEDESTRIAN', 'BOLLARD', 'CONSTRUCTION_CONE', 'CONSTRUCTION_BARREL'),
    *('STOP_SIGN', 'BICYCLE', 'LARGE_VEHICLE', 'WHEELED_DEVICE', 'BUS', 'BOX_TRUCK', 'SIGN'),
    *('TRUCK', 'MOTORCYCLE', 'BICYCLIST', 'VEHICULAR_TRAILER', 'TRUCK_CAB', 'MOTORCYCLIST', 'DOG'),
    *('SCHOOL_BUS', 'WHEELED_RIDER', 'STROLLER', 'ARTICULATED_BUS', 'MESSAGE_BOARD_TRAILER'),
    *('MOBILE_PEDESTRIAN_SIGN', 'WHEELCHAIR', 'RAILED_VEHICLE', 'OFFICIAL_SIGNALER'),
    *('TRAFFIC_LIGHT_TRAILER', 'ANIMAL', 'MOBILE_PEDESTRIAN_CROSSING_SIGN'),
)
Columns = Mapping[str, NDArray[Any]]


def read_feather(path: Path, columns: tuple[str, ...], remedy: str = 'it is skipped') -> Columns:
    """Read columns of a table.

    Raises:
        DatasetError: if it is missing, damaged, or lacks a column.
        DependencyError: if pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import feather
    except ImportError as err:
        raise DependencyError("Argoverse 2 needs pyarrow; pip install '.[datasets]'") from err
    data = set_files.read_file(path, remedy)
    try:
        table = feather.read_table(io.BytesIO(data))
        return {name: table.column(name).to_numpy(zero_copy_only=False) for name in columns}
    except (pyarrow.ArrowException, KeyError, ValueError) as err:
        raise DatasetError(f'{path} is damaged or lacks columns ({err}); {remedy}') from err


def transforms(table: Columns) -> NDArray[np.float64]:
    """Return (N, 4, 4) of quaternions qw to qz and translations tx_m to tz_m."""
    turns = np.stack([np.asarray(table[f'q{k}'], np.float64) for k in 'xyzw'], 1)
    moved = np.stack([np.asarray(table[f't{k}_m'], np.float64) for k in 'xyz'], 1)
    return np.array([transform_matrix(t, q) for t, q in zip(moved, turns, strict=True)])


SE3 = ('qw', 'qx', 'qy', 'qz', 'tx_m', 'ty_m', 'tz_m')


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The labelled boxes of one sweep.

    Attributes:
        T_base_box: (B, 4, 4), at the sweep's stamp.
        half: (B, 3) half length, width and height, metres.
        category: (B,) number of `CATEGORIES` plus 1.
        instance: (B,) number in the log.
    """

    T_base_box: NDArray[np.float64]
    half: NDArray[np.float64]
    category: NDArray[np.uint8]
    instance: NDArray[np.uint16]

    def label(self, xyz: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Return category and instance of each point (N, 3), by the smallest box it is in."""
        category = np.full(len(xyz), UNLABELLED, np.uint8)
        instance = np.zeros(len(xyz), np.uint16)
        for k in np.argsort(-self.half.prod(axis=1), kind='stable'):
            near = np.flatnonzero(
                np.linalg.norm(xyz - self.T_base_box[k, :3, 3], axis=1)
                <= np.linalg.norm(self.half[k] + _BOX_MARGIN)
            )
            T = inverse(self.T_base_box[k])
            inside = np.abs(xyz[near] @ T[:3, :3].T + T[:3, 3]) <= self.half[k] + _BOX_MARGIN
            within = near[inside.all(axis=1)]
            category[within], instance[within] = self.category[k], self.instance[k]
        return category, instance


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """Reads the upper unit's points of a sweep; it can be pickled."""

    path: Path
    stamp_ns: int
    poses: Poses
    T_base_lidar: NDArray[np.float64]
    ring_of_laser: NDArray[np.uint16] | None
    boxes: Boxes | None

    def measured(self) -> tuple[Columns, NDArray[np.float64], NDArray[np.float32]]:
        """Return columns, (N, 3) points as published, and (N, 3) where they were measured."""
        table = read_feather(self.path, ('x', 'y', 'z', 'intensity', 'laser_number', 'offset_ns'))
        upper = np.asarray(table['laser_number']) < LASERS
        table = {name: np.asarray(values)[upper] for name, values in table.items()}
        published = np.stack([table[k].astype(np.float64) for k in 'xyz'], 1)
        T = inverse(self.T_base_lidar)
        lidar = published @ T[:3, :3].T + T[:3, 3]
        time = table['offset_ns'].astype(np.float64) * 1e-9
        if not len(lidar):
            raise DatasetError(f'{self.path} has no point of the upper unit; it is skipped')
        try:
            xyz = as_measured(lidar, time, self.stamp_ns, self.poses, self.T_base_lidar)
        except MotionError as err:
            raise DatasetError(f'{self.path}: {err}; it is skipped') from err
        return table, published, xyz

    def __call__(self) -> SweepPoints:
        table, published, xyz = self.measured()
        ring = None
        if self.ring_of_laser is not None:
            ring = self.ring_of_laser[table['laser_number'].astype(np.intp)]
        points = SweepPoints(
            xyz,
            table['intensity'].astype(np.float32),
            (table['offset_ns'].astype(np.float64) * 1e-9).astype(np.float32),
            ring,
        )
        if self.boxes is None:
            return points
        category, instance = self.boxes.label(published)
        return dataclasses.replace(points, semantic=category, instance=instance)
