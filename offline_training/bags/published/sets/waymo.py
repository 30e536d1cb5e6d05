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

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from offline_training.bags.published.drive import (
    DriveEntry,
    ImageItem,
    PublishedCamera,
    PublishedDrive,
    PublishedSet,
    SweepItem,
)
from offline_training.bags.published.geometry import SetGeometry
from offline_training.bags.published.poses import Poses
from offline_training.bags.published.sets.set_cameras import intrinsics, pinhole
from offline_training.bags.published.sets.waymo_components import Component, matrices
from offline_training.bags.published.sets.waymo_readers import (
    IMAGE,
    POSE,
    ImageFile,
    Sweep,
)

_TOP = 1
_TURN_NS = 100_000_000
# Poses are looked through this long before and after a sweep for when its columns were measured.
_AROUND_NS, _STEP_NS = 60_000_000, 1_000_000
# Of the vehicle in a turn, metres: less does not tell.
_TELLING = 0.3
_CAMERAS = {1: 'front', 2: 'front_left', 3: 'front_right', 4: 'side_left', 5: 'side_right'}
_STAMP, _LASER, _CAMERA = 'key.frame_timestamp_micros', 'key.laser_name', 'key.camera_name'
_BEAMS = '[LiDARCalibrationComponent].beam_inclination'
_LIDAR_PLACE = '[LiDARCalibrationComponent].extrinsic.transform'
_WORLD = '[VehiclePoseComponent].world_from_vehicle.transform'
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


def _segments(root: Path) -> dict[str, Path]:
    """Return the folder of components that each segment is in, by the segment's name."""
    found = [root, *(path for path in root.iterdir() if path.is_dir())]
    return {
        file.name.removesuffix('.parquet'): folder
        for folder in found
        if (folder / 'lidar').is_dir()
        for file in (folder / 'lidar').iterdir()
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


class _Segment:
    """One segment's components."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._notes = ['only first returns of the top LiDAR are imported']

    def drive(self) -> PublishedDrive:
        stamps = [int(value) * 1000 for value in self._component('vehicle_pose').column(_STAMP)]
        T_world = matrices(self._component('vehicle_pose').column(_WORLD))
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
        T_base_lidar = matrices([calibration.column(_LIDAR_PLACE)[top]])[0]
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
                self._notes.append(f'the sweep of {micros} us has no pose; it is skipped')
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
            for stamp, after in itertools.pairwise(stamps)
            if after - stamp < 2 * _TURN_NS
        ]
        usual = 0.0, _TURN_NS * 1e-9
        if not ways or max(ways) < _TELLING:
            self._notes.append(
                'the vehicle is stationary; sweeps are assumed to start at the rear, at the stamp'
            )
            return usual
        stamp = stamps[int(np.argmax(ways))]
        pose = self._component('lidar_pose').array(rows[stamp], POSE)[..., 3:].astype(np.float64)
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
                'no times follow from the poses of pixels; sweeps are assumed to start at the rear'
            )
            return usual
        return float(first), float(last)

    def _cameras(self) -> dict[str, PublishedCamera]:
        calibration = self._component('camera_calibration')
        names = ('f_u', 'f_v', 'c_u', 'c_v', 'k1', 'k2', 'p1', 'p2', 'k3')
        columns = [calibration.column(f'{_CALIBRATION}.intrinsic.{name}') for name in names]
        width, height = (calibration.column(f'{_CALIBRATION}.{k}') for k in ('width', 'height'))
        places = matrices(calibration.column(f'{_CALIBRATION}.extrinsic.transform'))
        cameras = {}
        for (number,), row in sorted(calibration.rows(_CAMERA).items()):
            fx, fy, cx, cy, *distortion = (float(column[row]) for column in columns)
            name = _CAMERAS.get(number, f'camera_{number}')
            K, size = intrinsics(fx, fy, cx, cy), (int(width[row]), int(height[row]))
            model = pinhole(K, size, f'{name}_optical', distortion)
            cameras[name] = PublishedCamera(model, places[row] @ _T_CAMERA_OPTICAL)
        return cameras

    def _images(
        self, cameras: Mapping[str, PublishedCamera]
    ) -> tuple[list[ImageItem], dict[int, NDArray[np.float64]]]:
        """Return the images, and the vehicle's poses that come with them, by their time."""
        component = self._component('camera_image')
        shutter = f'{IMAGE}.rolling_shutter_params'
        trigger = component.column(f'{shutter}.camera_trigger_time')
        done = component.column(f'{shutter}.camera_readout_done_time')
        times = component.column(f'{IMAGE}.pose_timestamp')
        T = matrices(component.column(f'{IMAGE}.pose.transform'))
        images, poses = [], {}
        for (_, number), row in sorted(component.rows(_STAMP, _CAMERA).items()):
            name = _CAMERAS.get(number, f'camera_{number}')
            if name not in cameras:
                self._notes.append(f'camera {number} has images but no calibration')
                continue
            stamp = round((float(trigger[row]) + float(done[row])) / 2.0 * 1e9)
            images.append(ImageItem(name, stamp, ImageFile(self._folder, self._name, row)))
            poses[round(float(times[row]) * 1e9)] = T[row]
        return images, poses


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Segment(folder, name).drive()


SET = PublishedSet(
    title='Waymo Open Dataset, perception v2',
    layout='{lidar,lidar_pose,lidar_calibration,camera_image,...}/<segment>.parquet',
    geometry=SetGeometry(
        compensated_to='none',
        points_frame='sensor',
        rotation='clockwise',
        begins='at the rear, by the columns of its range image',
        beams='rows of the range image, the highest first; inclinations in lidar_calibration',
        point_times='azimuth',
        bag_points='measured',
        no_returns=False,
        cameras_fire='when the top LiDAR passes their view; stamped at the middle of read-out',
        shutter='rolling',
        licence='Waymo Open Dataset licence, non-commercial',
        weights='no',
    ),
    find=_segments,
    describe=_entry,
    read=_read_drive,
)
