"""KITTI's raw recordings, synchronised and rectified (`_sync`) or as they were (`_extract`).

    <root>/<date>/calib_cam_to_cam.txt, calib_velo_to_cam.txt, calib_imu_to_velo.txt
    <root>/<date>/<date>_drive_<number>_sync/{image_00..03,velodyne_points,oxts}/data/<frame>.*
    ... and timestamps.txt in each; timestamps_start.txt, timestamps_end.txt of velodyne_points

Clouds are as measured. A frame's number is its line in the timestamps of its own sensor; where
frames were lost those lines are empty, so sensors are brought together by time alone.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.cameras import CameraModel
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

_DRIVE = re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_(sync|extract)')
_CAMERAS = ('image_00', 'image_01', 'image_02', 'image_03')
_IMAGES = ('.png', '.jpg')
_EARTH_RADIUS = 6378137.0
_OXTS_VALUES = 30
_HALF_TURN_NS = 50_000_000


def _folders(root: Path) -> dict[str, Path]:
    """Return the drives of a folder, or of a day's folder."""
    if (root / 'sequences').is_dir():
        raise DatasetError(
            f'{root} is the odometry benchmark, not the raw recordings; import it as '
            'semantic-kitti'
        )
    found = [root, *(path for path in root.iterdir() if path.is_dir())]
    return {
        path.name: path
        for folder in found
        for path in folder.iterdir()
        if _DRIVE.fullmatch(path.name) and path.is_dir()
    }


def _entry(folder: Path, name: str) -> DriveEntry:
    sweeps = set_files.numbered(folder / 'velodyne_points' / 'data', ('.bin', '.txt'))
    cameras = tuple(name for name in _CAMERAS if (folder / name / 'data').is_dir())
    boxes = (folder / 'tracklet_labels.xml').is_file()
    return DriveEntry(name, len(sweeps), cameras, 'boxes, not imported' if boxes else 'none')


@dataclasses.dataclass(frozen=True)
class _SweepFile:
    """Reads a sweep; it can be pickled."""

    path: Path
    begin_s: float
    end_s: float

    def __call__(self) -> SweepPoints:
        points = kitti_files.read_points(self.path)
        xyz = np.ascontiguousarray(points[:, :3])
        time = self.begin_s + kitti_files.turn_of(xyz) * (self.end_s - self.begin_s)
        return SweepPoints(xyz, points[:, 3], time.astype(np.float32), kitti_files.rings_of(xyz))


class _Recording:
    """One drive's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rectified = folder.name.endswith('_sync')
        self._notes: list[str] = []

    def drive(self) -> PublishedDrive:
        T_base_imu = set_files.rigid(np.eye(3), np.array([0.0, 0.0, kitti_files.IMU_HEIGHT]))
        T_imu_velo = inverse(self._rigid('calib_imu_to_velo.txt'))
        T_base_lidar = T_base_imu @ T_imu_velo
        present = [name for name in _CAMERAS if (self._folder / name / 'data').is_dir()]
        if not present:
            raise DatasetError(f'{self._folder} has no image folder; unpack the images there')
        cameras = {}
        for name in present:
            model, T_camera_velo = self._camera(name)
            cameras[name] = PublishedCamera(model, T_base_lidar @ inverse(T_camera_velo))
        images = [
            ImageItem(name, stamp, functools.partial(set_files.read_file, path))
            for name in present
            for path, stamp in self._stamped(name, _IMAGES)
        ]
        sweeps = self._sweeps()
        return PublishedDrive(
            self._folder.name,
            cameras,
            T_base_lidar,
            sweeps,
            images,
            self._poses(T_base_imu),
            notes=self._notes,
        )

    def _calibration(self, name: str) -> tuple[dict[str, NDArray[np.float64]], Path]:
        path = self._folder.parent / name
        return kitti_files.read_calibration(path), path

    def _rigid(self, name: str) -> NDArray[np.float64]:
        calibration, path = self._calibration(name)
        R = kitti_files.matrix(calibration, 'R', (3, 3), path)
        return set_files.rigid(R, kitti_files.matrix(calibration, 'T', (3,), path))

    def _camera(self, name: str) -> tuple[CameraModel, NDArray[np.float64]]:
        """Return a camera and where the LiDAR is in its optical frame."""
        calibration, path = self._calibration('calib_cam_to_cam.txt')
        number = name[-2:]

        def get(key: str, *shape: int) -> NDArray[np.float64]:
            return kitti_files.matrix(calibration, f'{key}_{number}', shape, path)

        T_first_velo = self._rigid('calib_velo_to_cam.txt')
        P = get('P_rect', 3, 4)
        frame = f'{name}_optical'
        if self._rectified:
            R_first = kitti_files.matrix(calibration, 'R_rect_00', (3, 3), path)
            width, height = get('S_rect', 2)
            size = round(float(width)), round(float(height))
            model, T_own_first = kitti_files.rectified_camera(P, size, frame)
            return model, T_own_first @ set_files.rigid(R_first, np.zeros(3)) @ T_first_velo
        width, height = get('S', 2)
        own = P.copy()
        own[:, 3] = 0.0
        model = CameraModel(
            round(float(width)),
            round(float(height)),
            get('K', 3, 3),
            get('D', 5),
            get('R_rect', 3, 3),
            own,
            'plumb_bob',
            frame,
            rectified=False,
        )
        return model, set_files.rigid(get('R', 3, 3), get('T', 3)) @ T_first_velo

    def _stamped(self, sensor: str, suffixes: tuple[str, ...]) -> list[tuple[Path, int]]:
        """Return the frames of a sensor that have a time, with it; note the others."""
        files = set_files.numbered(self._folder / sensor / 'data', suffixes)
        stamps = _by_number(
            kitti_files.read_stamps(self._folder / sensor / 'timestamps.txt'), files
        )
        for number, path in files.items():
            if stamps.get(number) is None:
                self._notes.append(f'{path}: its time is missing; it is skipped')
        last = max([*files, *(number for number, stamp in stamps.items() if stamp)], default=-1)
        lost = [number for number in range(last + 1) if number not in files]
        if lost:
            self._notes.append(
                f'{self._folder.name}/{sensor}: {len(lost)} frames were lost, the first is '
                f'number {lost[0]}; others are matched by time'
            )
        known = ((path, stamps.get(number)) for number, path in files.items())
        return [(path, stamp) for path, stamp in known if stamp is not None]

    def _sweeps(self) -> list[SweepItem]:
        folder = self._folder / 'velodyne_points'
        files = set_files.numbered(folder / 'data', ('.bin', '.txt'))
        if not files:
            raise DatasetError(f'{folder} has no sweep; unpack velodyne_points there')
        ends: list[dict[int, int | None]] = []
        for name in ('timestamps_start.txt', 'timestamps_end.txt'):
            if (folder / name).is_file():
                ends.append(_by_number(kitti_files.read_stamps(folder / name), files))
        if len(ends) < 2:
            self._notes.append(
                f'{folder}: no timestamps_start.txt and timestamps_end.txt; a sweep is taken to '
                'last 0.1 s around its time'
            )
        sweeps = []
        for path, stamp in self._stamped('velodyne_points', ('.bin', '.txt')):
            number = int(path.stem)
            begin, end = stamp - _HALF_TURN_NS, stamp + _HALF_TURN_NS
            if len(ends) == 2:
                told = ends[0].get(number), ends[1].get(number)
                if told[0] is None or told[1] is None or not told[0] < told[1]:
                    self._notes.append(f'{path}: the start or end of its revolution is missing')
                else:
                    begin, end = told[0], told[1]
            read = _SweepFile(path, (begin - stamp) * 1e-9, (end - stamp) * 1e-9)
            sweeps.append(SweepItem(stamp, begin, end, read))
        return sorted(sweeps, key=lambda sweep: sweep.stamp_ns)

    def _poses(self, T_base_imu: NDArray[np.float64]) -> Poses | None:
        """Return the vehicle's poses by its inertial navigation, a record each."""
        if not (self._folder / 'oxts' / 'data').is_dir():
            self._notes.append(f'{self._folder.name}: no oxts, so the motion is unknown')
            return None
        stamps, records = [], []
        for path, stamp in self._stamped('oxts', ('.txt',)):
            try:
                values = np.array(set_files.read_file(path).split(), np.float64)
            except (DatasetError, ValueError):
                values = np.empty(0)
            if len(values) < _OXTS_VALUES or not np.isfinite(values[:6]).all():
                self._notes.append(f'{path} is not a record of 30 numbers; it is skipped')
                continue
            stamps.append(stamp)
            records.append(values[:6])
        if not records:
            return None
        T_world_imu = _mercator(np.array(records))
        return Poses.of(np.array(stamps), T_world_imu @ inverse(T_base_imu))


def _by_number(stamps: list[int | None], files: Mapping[int, Path]) -> dict[int, int | None]:
    """Return times by frame number: its line; or, where lost frames have no lines, its place."""
    while stamps and stamps[-1] is None:
        stamps = stamps[:-1]
    if len(stamps) == len(files) and max(files, default=0) >= len(stamps):
        return dict(zip(files, stamps, strict=True))
    return dict(enumerate(stamps))


def _mercator(records: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T_world_imu (N, 4, 4) of latitude, longitude (deg), altitude (m), roll, pitch, yaw.

    East, north, up on a Mercator map whose scale holds at the first record, as the development
    kit has it.
    """
    latitude, longitude, altitude, roll, pitch, yaw = records.T
    scale = np.cos(np.radians(latitude[0]))
    T = np.tile(np.eye(4), (len(records), 1, 1))
    T[:, 0, 3] = scale * _EARTH_RADIUS * np.radians(longitude)
    T[:, 1, 3] = scale * _EARTH_RADIUS * np.log(np.tan(np.radians(90.0 + latitude) / 2.0))
    T[:, 2, 3] = altitude
    T[:, :3, :3] = Rotation.from_euler('ZYX', np.stack([yaw, pitch, roll], 1)).as_matrix()
    return T


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Recording(folder).drive()


SET = PublishedSet(
    title='KITTI raw',
    layout='<date>/<date>_drive_<number>_sync (or _extract), and <date>/calib_*.txt',
    geometry=SetGeometry(
        compensated_to='none',
        points_frame='sensor',
        rotation='clockwise',
        begins='at the rear',
        beams='rows in file order, from the highest down; azimuth wraps between them',
        point_times='azimuth',
        bag_points='measured',
        no_returns=False,
        cameras_fire='when the LiDAR faces forward, which triggers them',
        shutter='global',
        licence='CC BY-NC-SA 3.0',
        weights='non-commercial',
    ),
    find=_folders,
    describe=_entry,
    read=_read_drive,
)
