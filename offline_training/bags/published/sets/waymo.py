"""Waymo Open Dataset, perception, version 2: segments of 20 s, five cameras, range images.

    <root>[/training|validation|testing]/<component>/<segment>.parquet
    lidar, lidar_pose, lidar_calibration, camera_image, camera_calibration, vehicle_pose,
    and lidar_segmentation, where there are labels

P. Sun et al., "Scalability in Perception for Autonomous Driving", CVPR 2020; the development kit's
v2 components and range_image_utils.py. Only the top LiDAR's first returns are imported: it alone
has a pose of the vehicle for each pixel of its range image. When a column was measured is not
published; the poses tell, where the vehicle moved.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import DatasetError, DependencyError, MotionError
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import inverse
from offline_training.bags.published.drive import (
    DriveEntry,
    ImageItem,
    PublishedCamera,
    PublishedDrive,
    SweepItem,
    SweepPoints,
)
from offline_training.bags.published.geometry import SetGeometry
from offline_training.bags.published.poses import Poses, as_measured

_TOP = 1
_TURN_NS = 100_000_000
# Poses are looked through this long before and after a sweep for when its columns were measured.
_AROUND_NS, _STEP_NS = 60_000_000, 1_000_000
# Of the vehicle in a turn, metres: less does not tell.
_TELLING = 0.3
_CAMERAS = {1: 'front', 2: 'front_left', 3: 'front_right', 4: 'side_left', 5: 'side_right'}
_STAMP, _LASER, _CAMERA = 'key.frame_timestamp_micros', 'key.laser_name', 'key.camera_name'
_LIDAR = '[LiDARComponent].range_image_return1'
_POSE = '[LiDARPoseComponent].range_image_return1'
_LABEL = '[LiDARSegmentationLabelComponent].range_image_return1'
_BEAMS = '[LiDARCalibrationComponent].beam_inclination'
_LIDAR_PLACE = '[LiDARCalibrationComponent].extrinsic.transform'
_WORLD = '[VehiclePoseComponent].world_from_vehicle.transform'
_IMAGE = '[CameraImageComponent]'
_CALIBRATION = '[CameraCalibrationComponent]'
# A camera's frame looks along x, its optical frame along z.
_T_CAMERA_OPTICAL = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
_UNLABELLED = 0
CLASSES = (
    *('TYPE_UNDEFINED', 'TYPE_CAR', 'TYPE_TRUCK', 'TYPE_BUS', 'TYPE_OTHER_VEHICLE'),
    *('TYPE_MOTORCYCLIST', 'TYPE_BICYCLIST', 'TYPE_PEDESTRIAN', 'TYPE_SIGN', 'TYPE_TRAFFIC_LIGHT'),
    *('TYPE_POLE', 'TYPE_CONSTRUCTION_CONE', 'TYPE_BICYCLE', 'TYPE_MOTORCYCLE', 'TYPE_BUILDING'),
    *('TYPE_VEGETATION', 'TYPE_TREE_TRUNK', 'TYPE_CURB', 'TYPE_ROAD', 'TYPE_LANE_MARKER'),
    *('TYPE_OTHER_GROUND', 'TYPE_WALKABLE', 'TYPE_SIDEWALK'),
)


class Waymo:
    """The importer, see `PublishedSet`."""

    title = 'Waymo Open Dataset, perception v2'
    layout = '{lidar,lidar_pose,lidar_calibration,camera_image,...}/<segment>.parquet'
    geometry = SetGeometry(
        compensated_to='none',
        points_frame='sensor',
        rotation='clockwise',
        begins='behind, by the columns of its range image',
        beams='rows of the range image, the highest first; inclinations in lidar_calibration',
        point_times='azimuth',
        bag_points='measured',
        no_returns=False,
        cameras_fire='as the top LiDAR passes their view; stamped in the middle of their read-out',
        shutter='rolling',
        licence='Waymo Open Dataset licence, non-commercial',
        weights='no',
    )

    def drives(self, root: Path) -> list[DriveEntry]:
        """List the segments of a folder."""
        return [_entry(folder, name) for name, folder in _segments(root).items()]

    def open(self, root: Path, name: str) -> PublishedDrive:
        """Open a segment."""
        folder = _segments(root).get(name)
        if folder is None:
            raise DatasetError(f'{root} has no segment {name}')
        return _Segment(folder, name).drive()


SET = Waymo()


def _segments(root: Path) -> dict[str, Path]:
    """Return the folder of components that each segment is in, by the segment's name."""
    found = [root, *(path for path in root.iterdir() if path.is_dir())]
    return {
        file.name.removesuffix('.parquet'): folder
        for folder in found
        if (folder / 'lidar').is_dir()
        for file in sorted((folder / 'lidar').iterdir(), key=lambda path: path.name)
        if file.name.endswith('.parquet')
    }


def _entry(folder: Path, name: str) -> DriveEntry:
    stamps = Component(folder, 'vehicle_pose', name).column(_STAMP)
    cameras = Component(folder, 'camera_calibration', name).column(_CAMERA)
    labels = 'none'
    if (folder / 'lidar_segmentation' / f'{name}.parquet').is_file():
        count = len(set(Component(folder, 'lidar_segmentation', name).column(_STAMP)))
        labels = f'points of {count} sweeps'
    names = tuple(_CAMERAS.get(int(camera), str(camera)) for camera in sorted(cameras))
    return DriveEntry(name, len(stamps), names, labels)


class Component:
    """One component of a segment: a table of a row a frame, and a laser or camera where it has any.

    Rows are read when asked for, a row group at a time.
    """

    def __init__(self, folder: Path, component: str, segment: str) -> None:
        """Name it; nothing is opened yet."""
        self.path = folder / component / f'{segment}.parquet'

    def column(self, name: str) -> list[Any]:
        """Return a column of small values, a value a row.

        Raises:
            DatasetError: if the file is missing, damaged, or has no such column.
            DependencyError: if pyarrow is not installed.
        """
        return _column(self.path, name)

    def rows(self, *keys: str) -> dict[tuple[int, ...], int]:
        """Return each row's number by the values of key columns."""
        values = (self.column(key) for key in keys)
        return {tuple(map(int, key)): row for row, key in enumerate(zip(*values, strict=True))}

    def value(self, row: int, name: str) -> Any:
        """Return what a row has in a column: a number, bytes, or a NumPy array of a list."""
        for group, size in enumerate(_group_sizes(self.path)):
            if row < size:
                value = _group(self.path, group, name)[row]
                return np.asarray(value.values) if hasattr(value, 'values') else value.as_py()
            row -= size
        raise DatasetError(f'{self.path} has fewer rows than keys')

    def array(self, row: int, name: str) -> NDArray[Any]:
        """Return the array that `name.values` and `name.shape` of a row are."""
        values, shape = (self.value(row, f'{name}.{part}') for part in ('values', 'shape'))
        try:
            return values.reshape(tuple(int(size) for size in shape))
        except (ValueError, AttributeError, TypeError) as err:
            raise DatasetError(f'{self.path}: row {row} holds no array ({err})') from err


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise DependencyError("Waymo needs pyarrow; pip install '.[datasets]'") from err
    try:
        return parquet.ParquetFile(path.open('rb'))
    except OSError as err:
        raise DatasetError(
            f'cannot read {path}: {err.strerror or err}; download that component of the segment'
        ) from err
    except pyarrow.ArrowException as err:
        raise DatasetError(f'{path} is damaged ({err}); download it again') from err


def _read(path: Path, read: Any, name: str) -> Any:
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as err:
        reason = ' '.join(str(err).split())
        raise DatasetError(f'{path}: {name} cannot be read ({reason}); download it again') from err


@functools.lru_cache(maxsize=32)
def _column(path: Path, name: str) -> list[Any]:
    file = _opened(path)
    with file:
        return list(_read(path, lambda: file.read([name]).column(name).to_pylist(), name))


@functools.lru_cache(maxsize=8)
def _group_sizes(path: Path) -> list[int]:
    with _opened(path) as file:
        metadata = file.metadata
        return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


# One group each of images, ranges, poses and labels, with their shapes.
@functools.lru_cache(maxsize=7)
def _group(path: Path, group: int, name: str) -> Any:
    with _opened(path) as file:
        return _read(path, lambda: file.read_row_group(group, [name]).column(name), name)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Reads a sweep of the top LiDAR and its labels, if it has any; it can be pickled.

    Attributes:
        folder, segment: of the components.
        row, pose_row, label_row: in lidar, lidar_pose and lidar_segmentation; the last None
            without labels.
        inclination: (H,) rad, a row each, the highest first; empty where it is uniform between
            `limits`, the lowest and the highest.
        limits: rad.
        T_base_lidar, T_world_base: (4, 4), the latter at the sweep's stamp.
        stamp_ns: of the sweep.
        times: when its first and its last column were measured, s after the stamp.
        poses: of the vehicle.
    """

    folder: Path
    segment: str
    row: int
    pose_row: int
    label_row: int | None
    inclination: NDArray[np.float64]
    limits: tuple[float, float]
    T_base_lidar: NDArray[np.float64]
    T_world_base: NDArray[np.float64]
    stamp_ns: int
    times: tuple[float, float]
    poses: Poses

    def __call__(self) -> SweepPoints:
        lidar = Component(self.folder, 'lidar', self.segment)
        image = lidar.array(self.row, _LIDAR)
        height, width = image.shape[:2]
        row, column = np.nonzero(image[..., 0] > 0)
        ranges = image[row, column, 0].astype(np.float64)
        measured = ranges[:, None] * self._rays(height, width)[row, column]
        pose = Component(self.folder, 'lidar_pose', self.segment).array(self.pose_row, _POSE)
        if pose.shape[:2] != (height, width):
            raise DatasetError(f'{lidar.path}: the poses of row {self.row} are of another size')
        moved = self._moved(measured, pose[row, column].astype(np.float64))
        time = np.linspace(*self.times, width)[column]
        try:
            # Whoever moves them by the drive's poses finds them where the pixels' poses say.
            xyz = as_measured(moved, time, self.stamp_ns, self.poses, self.T_base_lidar)
        except MotionError as err:
            raise DatasetError(f'{lidar.path}: row {self.row}: {err}; it is left out') from err
        points = SweepPoints(
            xyz,
            image[row, column, 1].astype(np.float32),
            time.astype(np.float32),
            row.astype(np.uint16),
        )
        if self.label_row is None:
            return points
        labels = Component(self.folder, 'lidar_segmentation', self.segment)
        label = labels.array(self.label_row, _LABEL)
        if label.shape != (height, width, 2):
            raise DatasetError(f'{labels.path}: row {self.label_row} is of another size')
        return dataclasses.replace(
            points,
            semantic=label[row, column, 1].astype(np.uint16),
            instance=label[row, column, 0].astype(np.uint16),
        )

    def _rays(self, height: int, width: int) -> NDArray[np.float64]:
        """Return the direction of each pixel, (H, W, 3), in the LiDAR's frame.

        Columns count from behind, clockwise, in the vehicle's frame.
        """
        inclination = self.inclination
        if not len(inclination):
            low, high = self.limits
            middles = (np.arange(height) + 0.5) / height
            inclination = (low + middles * (high - low))[::-1]
        if len(inclination) != height:
            raise DatasetError(f'{self.segment}: {len(inclination)} inclinations of {height} rows')
        turned = np.arctan2(self.T_base_lidar[1, 0], self.T_base_lidar[0, 0])
        ratio = (np.arange(width, 0, -1) - 0.5) / width
        azimuth = (2.0 * ratio - 1.0) * np.pi - turned
        e, a = inclination[:, None], azimuth[None, :]
        rays = [np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e) + np.zeros_like(a)]
        return np.stack(rays, -1)

    def _moved(
        self, measured: NDArray[np.float64], pose: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return points (N, 3), each measured at a pose of the vehicle of its own, moved to the
        sweep's stamp; poses are (N, 6) roll, pitch, yaw, x, y, z in the world."""
        T = self.T_base_lidar
        base = measured @ T[:3, :3].T + T[:3, 3]
        turn = Rotation.from_euler('ZYX', pose[:, 2::-1])
        world = turn.apply(base) + pose[:, 3:]
        T = inverse(self.T_world_base @ self.T_base_lidar)
        moved: NDArray[np.float64] = world @ T[:3, :3].T + T[:3, 3]
        return moved


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """Reads an image; it can be pickled."""

    folder: Path
    segment: str
    row: int

    def __call__(self) -> bytes:
        component = Component(self.folder, 'camera_image', self.segment)
        data = component.value(self.row, f'{_IMAGE}.image')
        if not isinstance(data, bytes) or not data:
            raise DatasetError(f'{component.path}: row {self.row} has no image; it is left out')
        return data


class _Segment:
    """One segment's components."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._notes = ['first returns of the top LiDAR alone']

    def drive(self) -> PublishedDrive:
        stamps = [int(value) * 1000 for value in self._component('vehicle_pose').column(_STAMP)]
        T_world = _matrices(self._component('vehicle_pose').column(_WORLD))
        if not len(T_world):
            raise DatasetError(f'{self._name}: vehicle_pose has no row')
        world = dict(zip(stamps, T_world, strict=True))
        cameras = self._cameras()
        images, seen = self._images(cameras)
        labels = self._label_rows()
        poses = Poses.of(
            np.array([*world, *seen], np.int64), np.array([*world.values(), *seen.values()])
        ).covering(min(stamps) - 2 * _AROUND_NS, max(stamps) + _TURN_NS + 2 * _AROUND_NS)
        T_base_lidar, sweeps = self._sweeps(world, labels, poses)
        return PublishedDrive(
            self._name,
            cameras,
            T_base_lidar,
            sweeps,
            images,
            poses,
            dict(enumerate(CLASSES)) if labels else {},
            (_UNLABELLED,),
            self._notes,
        )

    def _component(self, name: str) -> Component:
        return Component(self._folder, name, self._name)

    def _label_rows(self) -> dict[int, int]:
        component = self._component('lidar_segmentation')
        if not component.path.is_file():
            return {}
        rows = component.rows(_STAMP, _LASER)
        return {stamp * 1000: row for (stamp, laser), row in rows.items() if laser == _TOP}

    def _sweeps(
        self,
        world: Mapping[int, NDArray[np.float64]],
        labels: Mapping[int, int],
        poses: Poses,
    ) -> tuple[NDArray[np.float64], list[SweepItem]]:
        calibration = self._component('lidar_calibration')
        top = calibration.rows(_LASER).get((_TOP,))
        if top is None:
            raise DatasetError(f'{calibration.path} has no top LiDAR')
        T_base_lidar = _matrices([calibration.column(_LIDAR_PLACE)[top]])[0]
        values = calibration.column(f'{_BEAMS}.values')[top]
        low, high = (float(calibration.column(f'{_BEAMS}.{end}')[top]) for end in ('min', 'max'))
        # From the lowest up, while rows count from the highest.
        inclination = np.array([] if values is None else values, np.float64)[::-1]
        posed = self._component('lidar_pose').rows(_STAMP, _LASER)
        times = self._times_of_columns(
            {micros * 1000: row for (micros, laser), row in posed.items() if laser == _TOP},
            world,
            poses,
        )
        sweeps = []
        for (micros, laser), row in sorted(self._component('lidar').rows(_STAMP, _LASER).items()):
            if laser != _TOP:
                continue
            stamp, pose_row = micros * 1000, posed.get((micros, _TOP))
            if pose_row is None or stamp not in world:
                self._notes.append(f'the sweep of {micros} us has no pose; it is left out')
                continue
            read = Sweep(
                self._folder,
                self._name,
                row,
                pose_row,
                labels.get(stamp),
                inclination,
                (low, high),
                T_base_lidar,
                world[stamp],
                stamp,
                times,
                poses,
            )
            begin, end = (stamp + round(time * 1e9) for time in sorted(times))
            sweeps.append(SweepItem(stamp, begin, end, read))
        return T_base_lidar, sweeps

    def _times_of_columns(
        self, rows: Mapping[int, int], world: Mapping[int, NDArray[np.float64]], poses: Poses
    ) -> tuple[float, float]:
        """Return when first and last column of a sweep are measured, s after its stamp.

        By the fastest sweep: where the vehicle was as each column was measured, and when it was
        there. Of a vehicle that stands, a turn is taken to begin with the stamp, behind.
        """
        stamps = sorted(stamp for stamp in rows if stamp in world)
        ways = [
            float(np.linalg.norm(world[after][:3, 3] - world[stamp][:3, 3]))
            for stamp, after in zip(stamps, stamps[1:], strict=False)
            if after - stamp < 2 * _TURN_NS
        ]
        usual = 0.0, _TURN_NS * 1e-9
        if not ways or max(ways) < _TELLING:
            self._notes.append(
                'the vehicle stands; turns are taken to begin with the stamp, behind'
            )
            return usual
        stamp = stamps[int(np.argmax(ways))]
        pose = self._component('lidar_pose').array(rows[stamp], _POSE)[..., 3:].astype(np.float64)
        place = np.median(pose, axis=0) - world[min(world)][:3, 3]
        place += poses.trajectory.poses([min(world)])[0][:3, 3]
        instants = np.arange(-_AROUND_NS, _TURN_NS + _AROUND_NS, _STEP_NS)
        path = poses.trajectory.poses([stamp + int(ns) for ns in instants])[:, :3, 3]
        ahead = path[-1] - path[0]
        seconds = np.interp(place @ ahead, path @ ahead, instants * 1e-9)
        slope, first = np.polyfit(np.arange(len(seconds)), seconds, 1)
        last = first + slope * (len(seconds) - 1)
        if not 0.8 * usual[1] < abs(last - first) < 1.2 * usual[1]:
            self._notes.append(
                'poses of pixels do not tell times; a turn is taken to begin behind'
            )
            return usual
        return float(first), float(last)

    def _cameras(self) -> dict[str, PublishedCamera]:
        calibration = self._component('camera_calibration')
        names = ('f_u', 'f_v', 'c_u', 'c_v', 'k1', 'k2', 'p1', 'p2', 'k3')
        columns = [calibration.column(f'{_CALIBRATION}.intrinsic.{name}') for name in names]
        sizes = [calibration.column(f'{_CALIBRATION}.{name}') for name in ('width', 'height')]
        places = _matrices(calibration.column(f'{_CALIBRATION}.extrinsic.transform'))
        cameras = {}
        for (number,), row in sorted(calibration.rows(_CAMERA).items()):
            fx, fy, cx, cy, *distortion = (float(column[row]) for column in columns)
            K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
            P = np.zeros((3, 4))
            P[:, :3] = K
            name = _CAMERAS.get(number, f'camera_{number}')
            model = CameraModel(
                *(int(size[row]) for size in sizes),
                K,
                np.array(distortion),
                np.eye(3),
                P,
                'plumb_bob',
                f'{name}_optical',
                rectified=False,
            )
            cameras[name] = PublishedCamera(model, places[row] @ _T_CAMERA_OPTICAL)
        return cameras

    def _images(
        self, cameras: Mapping[str, PublishedCamera]
    ) -> tuple[list[ImageItem], dict[int, NDArray[np.float64]]]:
        """Return the images, and the vehicle's poses that come with them, by their time."""
        component = self._component('camera_image')
        shutter = f'{_IMAGE}.rolling_shutter_params'
        trigger = component.column(f'{shutter}.camera_trigger_time')
        done = component.column(f'{shutter}.camera_readout_done_time')
        times = component.column(f'{_IMAGE}.pose_timestamp')
        T = _matrices(component.column(f'{_IMAGE}.pose.transform'))
        images, poses = [], {}
        for (_, number), row in sorted(component.rows(_STAMP, _CAMERA).items()):
            name = _CAMERAS.get(number, f'camera_{number}')
            if name not in cameras:
                self._notes.append(f'camera {number} has images and no calibration')
                continue
            stamp = round((float(trigger[row]) + float(done[row])) / 2.0 * 1e9)
            images.append(ImageItem(name, stamp, ImageFile(self._folder, self._name, row)))
            poses[round(float(times[row]) * 1e9)] = T[row]
        return images, poses


def _matrices(values: list[Any]) -> NDArray[np.float64]:
    """Return (N, 4, 4) of lists of 16 numbers, rows first.

    Raises:
        DatasetError: if they are others.
    """
    try:
        T = np.array(values, np.float64).reshape(-1, 4, 4)
    except (TypeError, ValueError) as err:
        raise DatasetError(f'a transform is no 16 numbers: {err}') from err
    return T
