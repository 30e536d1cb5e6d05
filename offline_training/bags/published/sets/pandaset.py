"""PandaSet: 8 s each, six cameras, a spinning Pandar64 and a PandarGT, points in the world's frame.

    <root>/<NNN>/lidar/{<NN>.pkl.gz,poses.json,timestamps.json}       x y z i t d, a row a point
    <root>/<NNN>/camera/<name>/{<NN>.jpg,intrinsics.json,poses.json,timestamps.json}
    <root>/<NNN>/annotations/semseg/{<NN>.pkl.gz,classes.json}        class, a row a point
    <root>/<NNN>/annotations/cuboids/<NN>.pkl.gz                      boxes in the world's frame

P. Xiao et al., "PandaSet", ITSC 2021, and its development kit. Only the Pandar64 (d = 0) is
imported. `lidar/poses.json` has the vehicle's poses, y ahead; where the LiDAR is follows from the
front camera's poses and the kit's static calibration.
"""  # noqa: E501

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import DatasetError, MotionError
from drive_segment_ros.perception.beams import BeamTable, find_beams
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.transforms import inverse, transform_matrix
from drive_segment_ros.text_files import parse_json
from offline_training.bags.published.drive import (
    DriveEntry,
    ImageItem,
    PublishedCamera,
    PublishedDrive,
    PublishedSet,
    SweepItem,
)
from offline_training.bags.published.geometry import SetGeometry
from offline_training.bags.published.poses import SINGLE_POSE, Poses
from offline_training.bags.published.sets import set_files
from offline_training.bags.published.sets.pandaset_calibration import CAMERAS, T_camera_lidar
from offline_training.bags.published.sets.pandaset_tables import (
    LidarFrame,
    SweepFile,
    SweepTable,
    tables,
)
from offline_training.bags.published.sets.set_cameras import intrinsics, pinhole

_BEAMS = 64
_TURN_NS = 100_000_000
# Points are measured up to this long before a sweep's stamp, and after it, ns.
_BEFORE_NS, _AFTER_NS = 130_000_000, 30_000_000
# The vehicle as published looks along y.
_T_BASE_EGO = np.eye(4)
_T_BASE_EGO[:2, :2] = ((0.0, 1.0), (-1.0, 0.0))
# Sweeps that beams are found from.
_SAMPLES = 3


def _folders(root: Path) -> dict[str, Path]:
    """Return the sequences of a folder, or the one it is."""
    found = [root, *(path for path in root.iterdir() if path.is_dir())]
    return {
        path.name: path
        for path in found
        if re.fullmatch(r'\d+', path.name) and (path / 'lidar').is_dir()
    }


def _entry(folder: Path, name: str) -> DriveEntry:
    cameras = tuple(_short(one) for one in CAMERAS if (folder / 'camera' / one).is_dir())
    notes = folder / 'annotations'
    points, boxes = tables(notes / 'semseg'), tables(notes / 'cuboids')
    labels = 'points and boxes' if points and boxes else 'points' if points else 'none'
    if boxes and not points:
        labels = 'boxes, not imported'
    return DriveEntry(name, len(tables(folder / 'lidar')), cameras, labels)


def _short(camera: str) -> str:
    return camera.removesuffix('_camera')


def _read_json(path: Path) -> Any:
    text = set_files.read_text(path, 'download the sequence again')
    try:
        return parse_json(text)
    except ValueError as err:
        raise DatasetError(f'{path} is damaged: {err}') from err


def _read_stamps(folder: Path) -> list[int]:
    path = folder / 'timestamps.json'
    try:
        return [round(float(stamp) * 1e9) for stamp in _read_json(path)]
    except (TypeError, ValueError) as err:
        raise DatasetError(f'{path} is not a list of seconds') from err


def _read_poses(folder: Path) -> NDArray[np.float64]:
    """Return (N, 4, 4) poses in the world."""
    path = folder / 'poses.json'
    try:
        poses = [
            transform_matrix(
                [pose['position'][k] for k in 'xyz'], [pose['heading'][k] for k in 'xyzw']
            )
            for pose in _read_json(path)
        ]
        return np.array(poses).reshape(-1, 4, 4)
    except (KeyError, TypeError, ValueError) as err:
        raise DatasetError(f'{path} is not a list of poses: {err}') from err


class _Sequence:
    """One sequence's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: list[str] = []
        self._lidar_stamps = _read_stamps(folder / 'lidar')
        self._tables = {
            number: path
            for number, path in tables(folder / 'lidar').items()
            if self._has_stamp(path, number, self._lidar_stamps)
        }
        if not self._tables:
            raise DatasetError(f'{folder / "lidar"} has no sweep with a time')

    def drive(self) -> PublishedDrive:
        names = [name for name in CAMERAS if (self._folder / 'camera' / name).is_dir()]
        if not names:
            raise DatasetError(f'{self._folder / "camera"} has none of {", ".join(CAMERAS)}')
        # The front camera, where it is there: it is exposed in the middle of the sweep.
        frame = self._frame(names[0])
        beams = self._beams(frame)
        if beams is None:
            self._notes.append(
                f'{self._folder.name}: its {_BEAMS} beams were not found; points have no ring'
            )
        cameras, images = {}, []
        for name in names:
            found = self._images(name)
            if found:
                cameras[_short(name)] = self._camera(name, frame, next(iter(found)))
                images += [
                    ImageItem(_short(name), stamp, functools.partial(set_files.read_file, path))
                    for path, stamp in found.items()
                ]
        notes = self._folder / 'annotations'
        semseg, cuboids = tables(notes / 'semseg'), tables(notes / 'cuboids')
        sweeps = []
        for number, path in self._tables.items():
            stamp = self._lidar_stamps[number]
            read = SweepFile(path, stamp, frame, beams, semseg.get(number), cuboids.get(number))
            sweeps.append(SweepItem(stamp, stamp - _TURN_NS, stamp, read))
        return PublishedDrive(
            self._folder.name,
            cameras,
            frame.T_base_lidar,
            sweeps,
            images,
            frame.poses,
            self._classes() if semseg else {},
            notes=self._notes,
            facts={'T_world_odom_translation': frame.origin.tolist()},
        )

    def _has_stamp(self, path: Path, number: int, stamps: list[int]) -> bool:
        if number < len(stamps):
            return True
        self._notes.append(f'{path}: timestamps.json ends at {len(stamps) - 1}; it is skipped')
        return False

    def _classes(self) -> dict[int, str]:
        path = self._folder / 'annotations' / 'semseg' / 'classes.json'
        try:
            return {int(key): str(name) for key, name in _read_json(path).items()}
        except (AttributeError, ValueError) as err:
            raise DatasetError(f'{path} has no names by number') from err

    def _images(self, name: str) -> dict[Path, int]:
        folder = self._folder / 'camera' / name
        stamps = _read_stamps(folder)
        return {
            path: stamps[number]
            for number, path in set_files.numbered(folder, ('.jpg', '.png')).items()
            if self._has_stamp(path, number, stamps)
        }

    def _camera_poses(self, name: str) -> tuple[list[int], NDArray[np.float64]]:
        folder = self._folder / 'camera' / name
        stamps, poses = _read_stamps(folder), _read_poses(folder)
        if len(stamps) != len(poses) or not len(poses):
            raise DatasetError(f'{folder}: {len(poses)} poses at {len(stamps)} instants')
        return stamps, poses

    def _frame(self, camera: str) -> LidarFrame:
        """Return where the LiDAR is by a camera, on whose pose it has a fixed place."""
        stamps, T_world_camera = self._camera_poses(camera)
        if len(stamps) == 1:
            self._notes.append(SINGLE_POSE.format(self._folder.name))
        T_world_lidar = T_world_camera @ T_camera_lidar(camera)
        lidar = self._covering(Poses.of(np.array(stamps), T_world_lidar))
        origin = T_world_lidar[int(np.argmin(stamps)), :3, 3]
        T_base_lidar = self._base(lidar, origin)
        T_odom_base = lidar.T_odom_base @ inverse(T_base_lidar)
        return LidarFrame(Poses(lidar.stamps_ns, T_odom_base), origin, T_base_lidar)

    def _covering(self, poses: Poses) -> Poses:
        stamps = [self._lidar_stamps[number] for number in self._tables]
        return poses.covering(min(stamps) - _BEFORE_NS, max(stamps) + _AFTER_NS)

    def _base(self, lidar: Poses, origin: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return T_base_lidar, the mean over the drive of what the vehicle's poses tell."""
        T_world_ego = _read_poses(self._folder / 'lidar')
        numbers = [number for number in self._tables if number < len(T_world_ego)]
        if not numbers:
            raise DatasetError(f'{self._folder / "lidar" / "poses.json"} has no pose of a sweep')
        T_odom_lidar = lidar.trajectory.poses([self._lidar_stamps[k] for k in numbers])
        T_world_ego = T_world_ego[numbers]
        T_world_ego[:, :3, 3] -= origin
        return _T_BASE_EGO @ _mean(inverse(T_world_ego) @ T_odom_lidar)

    def _camera(self, name: str, frame: LidarFrame, example: Path) -> PublishedCamera:
        path = self._folder / 'camera' / name / 'intrinsics.json'
        content = _read_json(path)
        try:
            fx, fy, cx, cy = (float(content[key]) for key in ('fx', 'fy', 'cx', 'cy'))
        except (KeyError, TypeError, ValueError) as err:
            raise DatasetError(f'{path} has no fx, fy, cx, cy') from err
        # Images are without distortion: fx to cy is all that is published.
        K, size = intrinsics(fx, fy, cx, cy), set_files.image_size(example)
        model = pinhole(K, size, f'{_short(name)}_optical')
        stamps, T_world_camera = self._camera_poses(name)
        first, last = int(frame.poses.stamps_ns[0]), int(frame.poses.stamps_ns[-1])
        known = [k for k, stamp in enumerate(stamps) if first <= stamp <= last]
        if not known:
            raise DatasetError(
                f'{path.parent}: its images were taken at other times than the sweeps'
            )
        T_odom_base = frame.poses.trajectory.poses([stamps[k] for k in known])
        T_odom_camera = T_world_camera[known]
        T_odom_camera[:, :3, 3] -= frame.origin
        return PublishedCamera(model, _mean(inverse(T_odom_base) @ T_odom_camera))

    def _beams(self, frame: LidarFrame) -> BeamTable | None:
        """Find the beams in some sweeps; None unless there are as many as the sensor has."""
        numbers = list(self._tables)
        clouds = []
        for number in numbers[:: max(1, len(numbers) // _SAMPLES)][:_SAMPLES]:
            stamp = self._lidar_stamps[number]
            try:
                table = SweepTable.read(self._tables[number], stamp)
                xyz = frame.measured(table.world, table.time, stamp)
            except (DatasetError, MotionError):
                continue  # said when its turn comes
            x, y, z = np.ascontiguousarray(xyz.T)
            clouds.append(PointCloud(stamp, '', x, y, z, time=table.time))
        found = find_beams(clouds) if clouds else None
        return found if found is not None and len(found.elevation) == _BEAMS else None


def _mean(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean rotation and the median translation of (N, 4, 4) transforms."""
    mean = np.eye(4)
    mean[:3, :3] = Rotation.from_matrix(T[:, :3, :3]).mean().as_matrix()
    mean[:3, 3] = np.median(T[:, :3, 3], axis=0)
    return mean


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Sequence(folder).drive()


SET = PublishedSet(
    title='PandaSet',
    layout='<NNN>/{lidar,camera,annotations}',
    geometry=SetGeometry(
        compensated_to='stamp',
        points_frame='world',
        rotation='clockwise',
        begins='at the rear',
        beams='elevations, once compensation is undone',
        point_times='field',
        bag_points='measured',
        no_returns=False,
        cameras_fire='when the LiDAR passes their view; the front camera 50 ms before its stamp',
        shutter='rolling',
        licence='CC BY 4.0 and the PandaSet terms of use',
        weights='yes',
    ),
    find=_folders,
    describe=_entry,
    read=_read_drive,
)
