"""SemanticKITTI: labels of every point of KITTI's odometry benchmark.

    <root>/sequences/<NN>/{calib.txt,times.txt,velodyne/<frame>.bin,image_2/<frame>.png}
    <root>/sequences/<NN>/labels/<frame>.label     uint32 a point: class below, object above
    <root>/sequences/<NN>/poses.txt                of the first camera; or <root>/poses/<NN>.txt

J. Behley et al., "SemanticKITTI", ICCV 2019. Clouds are compensated: points are
where they were as the cameras fired.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.transforms import inverse
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
from offline_training.bags.published.poses import Poses
from offline_training.bags.published.sets import kitti_files, set_files
from offline_training.bags.published.sets.semantic_kitti_classes import CLASSES, UNLABELLED

_CAMERAS = ('image_0', 'image_1', 'image_2', 'image_3')
_IMAGES = ('.png', '.jpg')
_HALF_TURN_NS = 50_000_000
# Times count from the first frame, and stamps of zero are none; 2011-09-26, when most was driven.
_EPOCH_NS = 1_316_995_200_000_000_000


def _folders(root: Path) -> dict[str, Path]:
    """Return the sequences of a folder."""
    sequences = root / 'sequences'
    if not sequences.is_dir():
        sequences = root
    return {path.name: path for path in sequences.iterdir() if (path / 'velodyne').is_dir()}


def _entry(folder: Path, name: str) -> DriveEntry:
    sweeps = set_files.numbered(folder / 'velodyne', ('.bin',))
    cameras = tuple(name for name in _CAMERAS if (folder / name).is_dir())
    labels = set_files.numbered(folder / 'labels', ('.label',))
    said = f'points of {len(labels)} sweeps' if labels else 'none'
    return DriveEntry(name, len(sweeps), cameras, said)


@dataclasses.dataclass(frozen=True)
class _SweepFile:
    """Reads a sweep and its labels, if it has any; it can be pickled."""

    path: Path
    labels: Path | None

    def __call__(self) -> SweepPoints:
        points = kitti_files.read_points(self.path)
        xyz = np.ascontiguousarray(points[:, :3])
        found = SweepPoints(xyz, points[:, 3], ring=kitti_files.rings_of(xyz))
        if self.labels is None:
            return found
        label = _read_labels(self.labels, len(points))
        return dataclasses.replace(
            found,
            semantic=(label & 0xFFFF).astype(np.uint16),
            instance=(label >> 16).astype(np.uint16),
        )


def _read_labels(path: Path, points: int) -> NDArray[np.uint32]:
    data = set_files.read_file(path, 'its sweep is skipped')
    if len(data) != 4 * points:
        raise DatasetError(
            f'{path} has {len(data)} bytes, not 4 for each of {points} points; its sweep is '
            'skipped; download the labels again'
        )
    return np.frombuffer(data, '<u4')


class _Sequence:
    """One sequence's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: list[str] = []

    def drive(self) -> PublishedDrive:
        path = self._folder / 'calib.txt'
        calibration = kitti_files.read_calibration(path)
        name = 'Tr' if 'Tr' in calibration else 'Tr_velo_to_cam'
        T_first_velo = np.eye(4)
        T_first_velo[:3] = kitti_files.matrix(calibration, name, (3, 4), path)
        T_base_lidar = set_files.rigid(np.eye(3), np.array([0.0, 0.0, kitti_files.LIDAR_HEIGHT]))
        files = {name: set_files.numbered(self._folder / name, _IMAGES) for name in _CAMERAS}
        files = {name: found for name, found in files.items() if found}
        if not files:
            raise DatasetError(
                f'{self._folder} has no images; unpack image_2 of the odometry benchmark there'
            )
        cameras = {}
        for name, found in files.items():
            P = kitti_files.matrix(calibration, f'P{name[-1]}', (3, 4), path)
            size = set_files.image_size(next(iter(found.values())))
            model, T_own_first = kitti_files.rectified_camera(P, size, f'{name}_optical')
            T_camera_velo = T_own_first @ T_first_velo
            cameras[name] = PublishedCamera(model, T_base_lidar @ inverse(T_camera_velo))
        stamps = self._stamps()
        images = [
            ImageItem(name, stamps[number], functools.partial(set_files.read_file, image))
            for name, found in files.items()
            for number, image in found.items()
            if self._has_time(number, image, stamps)
        ]
        labels = set_files.numbered(self._folder / 'labels', ('.label',))
        return PublishedDrive(
            self._folder.name,
            cameras,
            T_base_lidar,
            self._sweeps(stamps, labels),
            images,
            self._poses(stamps, T_first_velo, T_base_lidar),
            CLASSES if labels else {},
            UNLABELLED,
            self._notes,
        )

    def _stamps(self) -> list[int]:
        text = set_files.read_text(
            self._folder / 'times.txt', 'it comes with the calibration of the odometry benchmark'
        )
        try:
            return [_EPOCH_NS + round(float(line) * 1e9) for line in text.split()]
        except ValueError as err:
            raise DatasetError(f'{self._folder / "times.txt"}: not one number per line') from err

    def _has_time(self, number: int, path: Path, stamps: list[int]) -> bool:
        if number < len(stamps):
            return True
        self._notes.append(f'{path}: times.txt ends at frame {len(stamps) - 1}; it is skipped')
        return False

    def _sweeps(self, stamps: list[int], labels: dict[int, Path]) -> list[SweepItem]:
        files = set_files.numbered(self._folder / 'velodyne', ('.bin',))
        without = [number for number in files if labels and number not in labels]
        if without:
            self._notes.append(
                f'{self._folder.name}: {len(without)} sweeps have no labels, the first is '
                f'{without[0]}'
            )
        sweeps = []
        for number, path in files.items():
            if self._has_time(number, path, stamps):
                stamp, read = stamps[number], _SweepFile(path, labels.get(number))
                sweeps.append(SweepItem(stamp, stamp - _HALF_TURN_NS, stamp + _HALF_TURN_NS, read))
        return sweeps

    def _poses(
        self,
        stamps: list[int],
        T_first_velo: NDArray[np.float64],
        T_base_lidar: NDArray[np.float64],
    ) -> Poses | None:
        """Return the vehicle's poses, a line a frame of the poses of the first camera."""
        places = self._folder / 'poses.txt', self._folder.parent.parent / 'poses'
        path = places[0] if places[0].is_file() else places[1] / f'{self._folder.name}.txt'
        if not path.is_file():
            self._notes.append(f'{self._folder.name}: no poses.txt, so the motion is unknown')
            return None
        text = set_files.read_text(path, 'download it again')
        try:
            lines = [line.split() for line in text.splitlines()]
            values = np.array([line for line in lines if line], np.float64).reshape(-1, 3, 4)
        except ValueError as err:
            raise DatasetError(f'{path}: not 12 numbers per line') from err
        count = min(len(values), len(stamps))
        if count < len(stamps):
            self._notes.append(f'{path}: {count} poses of {len(stamps)} frames')
        if count == 0:
            return None
        T_world_first = np.tile(np.eye(4), (count, 1, 1))
        T_world_first[:, :3] = values[:count]
        # The LiDAR stands level enough: its first pose is where up is up.
        T_odom_lidar = inverse(T_first_velo) @ T_world_first @ T_first_velo
        return Poses.of(np.array(stamps[:count]), T_odom_lidar @ inverse(T_base_lidar))


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Sequence(folder).drive()


SET = PublishedSet(
    title='SemanticKITTI',
    layout='sequences/<NN>/{velodyne,labels,image_2,calib.txt,times.txt,poses.txt}',
    geometry=SetGeometry(
        compensated_to='stamp',
        points_frame='sensor',
        rotation='clockwise',
        begins='at the rear',
        beams='rows in file order, from the highest down; azimuth wraps between them',
        point_times='none',
        bag_points='compensated',
        no_returns=False,
        cameras_fire='when the LiDAR faces forward, to which clouds are compensated',
        shutter='global',
        licence='CC BY-NC-SA 4.0 (labels), CC BY-NC-SA 3.0 (KITTI)',
        weights='non-commercial',
    ),
    find=_folders,
    describe=_entry,
    read=_read_drive,
)
