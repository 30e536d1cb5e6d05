"""nuScenes: scenes of 20 s, six cameras, a 32-beam LiDAR of 20 Hz; nuScenes-lidarseg's labels.

    <root>/v1.0-*/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor}.json
    <root>/{samples,sweeps}/LIDAR_TOP/*.pcd.bin       float32 x y z intensity ring, the LiDAR's frame
    <root>/{samples,sweeps}/CAM_*/*.jpg               undistorted
    <root>/v1.0-*/{lidarseg,category}.json, <root>/lidarseg/v1.0-*/*_lidarseg.bin    uint8 a point

H. Caesar et al., "nuScenes", CVPR 2020; schema_nuscenes.md of the development kit. A sweep's stamp
is when its turn is complete, and its points are moved to then; labels are of key frames alone.
When a point was measured is not published; files list all firings in order, even those without a
return, 32 points each.
"""  # noqa: E501

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError, MotionError
from drive_segment_ros.perception.transforms import transform_matrix
from offline_training.bags.published.drive import (
    DriveEntry,
    ImageItem,
    PublishedCamera,
    PublishedDrive,
    PublishedSet,
    SweepItem,
    SweepPoints,
)
from offline_training.bags.published.geometry import SetGeometry
from offline_training.bags.published.poses import Poses, as_measured
from offline_training.bags.published.sets import set_files
from offline_training.bags.published.sets.json_rows import Row
from offline_training.bags.published.sets.nuscenes_tables import (
    LIDAR,
    Tables,
    read_rows,
    read_tables,
)
from offline_training.bags.published.sets.set_cameras import pinhole

BEAMS = 32
_TURN_NS = 50_000_000
_NOISE = 0
# Metres: directions without a return are listed as points at the sensor, which measures from here
# on; what else is nearer is the vehicle.
_NEAREST = 1.0


def _scenes(root: Path) -> dict[str, Path]:
    """Return the folder of tables that each scene is in, by the scene's name."""
    return {
        row['name']: folder
        for folder in sorted(root.glob('v1.0-*'))
        if (folder / 'scene.json').is_file()
        for row in read_rows(folder, 'scene')
    }


def _entry(folder: Path, name: str) -> DriveEntry:
    tables = read_tables(folder)
    scene = tables.scenes[name]
    places = tables.places.get(scene['token'], {})
    cameras = tuple(sorted(_short(channel) for channel in places if channel != LIDAR))
    labelled = tables.labelled.get(scene['token'], 0)
    labels = f'points of {labelled} sweeps' if labelled else 'none'
    return DriveEntry(name, len(places.get(LIDAR, ())), cameras, labels)


def _short(channel: str) -> str:
    return channel.removeprefix('CAM_').lower()


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """Reads a sweep and its labels, if it has any; it can be pickled."""

    path: Path
    labels: Path | None
    begin_ns: int
    stamp_ns: int
    poses: Poses
    T_base_lidar: NDArray[np.float64]

    def __call__(self) -> SweepPoints:
        values = set_files.read_array(self.path, '<f4', 5)
        ring = values[:, 4]
        if not ((ring >= 0) & (ring < BEAMS)).all():
            raise DatasetError(f'{self.path} has rings beyond {BEAMS}; it is skipped')
        time = (1.0 - _turned(ring)) * (self.begin_ns - self.stamp_ns) * 1e-9
        try:
            xyz = as_measured(
                values[:, :3].astype(np.float64),
                time,
                self.stamp_ns,
                self.poses,
                self.T_base_lidar,
            )
        except MotionError as err:
            raise DatasetError(f'{self.path}: {err}; it is skipped') from err
        there = np.linalg.norm(xyz, axis=1) > _NEAREST
        points = SweepPoints(
            xyz[there],
            values[there, 3],
            time[there].astype(np.float32),
            (BEAMS - 1 - ring[there]).astype(np.uint16),
        )
        if self.labels is None:
            return points
        label = set_files.read_array(self.labels, np.uint8, 1)[:, 0]
        if len(label) != len(values):
            raise DatasetError(
                f'{self.labels} has {len(label)} labels, its sweep {len(values)} points; the '
                'sweep is skipped; download both again'
            )
        return dataclasses.replace(points, semantic=label[there])


def _turned(ring: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the part of the turn that had passed at each point, (N,) 0 to 1.

    Args:
        ring: (N,) in the order of the file: a firing goes through the rings, upwards.
    """
    firing = np.cumsum(np.r_[False, ring[1:] <= ring[:-1]])
    return (firing + 0.5) / (firing[-1] + 1)


class _Scene:
    """One scene's rows."""

    def __init__(self, root: Path, tables: Tables, name: str) -> None:
        self._root, self._tables, self._name = root, tables, name
        self._data = tables.data(tables.scenes[name]['token'])
        self._notes: list[str] = []

    def drive(self) -> PublishedDrive:
        sweeps = self._rows(LIDAR)
        if not sweeps:
            raise DatasetError(f'{self._root} has no sweep of {self._name}; unpack its file blobs')
        cameras, images = {}, []
        for channel in sorted(self._data):
            rows = [] if channel == LIDAR else self._rows(channel)
            if rows:
                cameras[_short(channel)] = self._camera(channel, rows[0])
                images += [self._image(channel, row) for row in rows]
        labelled = any(row['token'] in self._tables.labels for row in sweeps)
        T_base_lidar, poses = self._pose_of(self._sensor(sweeps[0])), self._poses()
        first, last = (int(sweeps[k]['timestamp']) * 1000 for k in (0, -1))
        covering = poses.covering(first - 2 * _TURN_NS, last)
        begins = self._begins(sweeps)
        return PublishedDrive(
            self._name,
            cameras,
            T_base_lidar,
            [
                self._sweep(row, begin, covering, T_base_lidar)
                for row, begin in zip(sweeps, begins, strict=True)
            ],
            images,
            poses,
            self._tables.classes if labelled else {},
            (_NOISE,),
            self._notes,
            {
                'version': self._tables.folder.name,
                'description': self._scene().get('description', ''),
            },
        )

    def _scene(self) -> Row:
        return self._tables.scenes[self._name]

    def _rows(self, channel: str) -> list[Row]:
        """Return a sensor's rows in order of time, those whose files are there."""
        rows = sorted(self._data.get(channel, []), key=lambda row: int(row['timestamp']))
        there = [row for row in rows if (self._root / row['filename']).is_file()]
        if len(there) < len(rows):
            self._notes.append(
                f'{self._name}/{channel}: {len(rows) - len(there)} of {len(rows)} files are '
                'missing'
            )
        return there

    def _sensor(self, row: Row) -> Row:
        return self._tables.sensors[row['calibrated_sensor_token']]

    def _pose_of(self, row: Row) -> NDArray[np.float64]:
        """Return the transform of a row that has translation and rotation (w x y z)."""
        w, x, y, z = (float(value) for value in row['rotation'])
        return transform_matrix([float(value) for value in row['translation']], [x, y, z, w])

    def _camera(self, channel: str, row: Row) -> PublishedCamera:
        sensor = self._sensor(row)
        K = np.array(sensor['camera_intrinsic'], np.float64)
        if K.shape != (3, 3):
            raise DatasetError(f'{self._name}: the intrinsics of {channel} are not a 3 x 3 matrix')
        model = pinhole(K, (int(row['width']), int(row['height'])), f'{_short(channel)}_optical')
        return PublishedCamera(model, self._pose_of(sensor))

    def _image(self, channel: str, row: Row) -> ImageItem:
        read = functools.partial(set_files.read_file, self._root / row['filename'])
        return ImageItem(_short(channel), int(row['timestamp']) * 1000, read)

    def _begins(self, sweeps: list[Row]) -> list[int]:
        """Return when each turn began: with the end of the one before, if that is there."""
        stamps = [int(row['timestamp']) * 1000 for row in sweeps]
        before = [stamps[0] - _TURN_NS, *stamps[:-1]]
        return [
            begin if stamp - begin < 1.5 * _TURN_NS else stamp - _TURN_NS
            for begin, stamp in zip(before, stamps, strict=True)
        ]

    def _sweep(
        self, row: Row, begin_ns: int, poses: Poses, T_base_lidar: NDArray[np.float64]
    ) -> SweepItem:
        stamp, path = int(row['timestamp']) * 1000, self._root / row['filename']
        labels = self._tables.labels.get(row['token'])
        labelled = self._root / labels if labels else None
        read = SweepFile(path, labelled, begin_ns, stamp, poses, T_base_lidar)
        return SweepItem(stamp, begin_ns, stamp, read)

    def _poses(self) -> Poses:
        stamps = {
            row['ego_pose_token']: int(row['timestamp']) * 1000
            for rows in self._data.values()
            for row in rows
        }
        poses = self._tables.poses(stamps)
        T = np.array([self._pose_of(poses[token]) for token in stamps])
        return Poses.of(np.array(list(stamps.values())), T)


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Scene(folder.parent, read_tables(folder), name).drive()


SET = PublishedSet(
    title='nuScenes',
    layout='v1.0-*/*.json, samples, sweeps; lidarseg, if there are labels',
    geometry=SetGeometry(
        compensated_to='end',
        points_frame='sensor',
        rotation='clockwise',
        begins='at the left',
        beams='field ring, 0 is the lowest',
        point_times='order',
        bag_points='measured',
        no_returns=False,
        cameras_fire='when the LiDAR passes their view, at different times; 12 Hz',
        shutter='global',
        licence='CC BY-NC-SA 4.0',
        weights='non-commercial',
    ),
    find=_scenes,
    describe=_entry,
    read=_read_drive,
)
