"""Argoverse 2 sensor: logs of 15 s, seven ring and two stereo cameras, two stacked VLP-32C.

    <root>[/<split>]/<log>/sensors/lidar/<ns>.feather        x y z intensity laser_number offset_ns
    <root>[/<split>]/<log>/sensors/cameras/<name>/<ns>.jpg   undistorted
    <root>[/<split>]/<log>/calibration/{egovehicle_SE3_sensor,intrinsics}.feather
    <root>[/<split>]/<log>/{city_SE3_egovehicle,annotations}.feather

B. Wilson et al., "Argoverse 2", NeurIPS Datasets 2021; av2-api: its README, issues 77, 204, 227.
A file has both units' points, in the vehicle's frame at the instant it is named after, when the
sweep began. They turn half a turn apart, so no image is near both in time, and their rows are two
sensors': the upper unit is imported (lasers 0 to 31), the lower is left out.
"""

from __future__ import annotations

import dataclasses
import functools
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
from offline_training.bags.published.sets import set_files
from offline_training.bags.published.sets.argoverse2_tables import (
    CATEGORIES,
    LASERS,
    SE3,
    UNLABELLED,
    Boxes,
    SweepFile,
    read_feather,
    transforms,
)
from offline_training.bags.published.sets.set_cameras import intrinsics, pinhole

_UNIT = 'up_lidar'
_TURN_NS = 107_000_000
# Sweeps that the order of beams is found from.
_SAMPLES = 3


def _logs(root: Path) -> dict[str, Path]:
    """Return the logs of a folder, of its splits, or the one it is, by name."""
    below = [path for path in root.iterdir() if path.is_dir()]
    found = [root, *below]
    for folder in below:
        if folder.name in ('train', 'val', 'test'):
            found += [path for path in folder.iterdir() if path.is_dir()]
    return {path.name: path for path in found if (path / 'sensors' / 'lidar').is_dir()}


def _entry(folder: Path, name: str) -> DriveEntry:
    cameras = folder / 'sensors' / 'cameras'
    names = sorted(path.name for path in cameras.iterdir()) if cameras.is_dir() else []
    labels = 'boxes' if (folder / 'annotations.feather').is_file() else 'none'
    sweeps = set_files.numbered(folder / 'sensors' / 'lidar', ('.feather',))
    return DriveEntry(name, len(sweeps), tuple(names), labels)


class _Log:
    """One log's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = ['the points of the lower LiDAR are not imported']
        sensors = read_feather(
            folder / 'calibration' / 'egovehicle_SE3_sensor.feather',
            ('sensor_name', *SE3),
            'download the log again',
        )
        self._placed = dict(zip(sensors['sensor_name'], transforms(sensors), strict=True))
        if _UNIT not in self._placed:
            raise DatasetError(f'{folder}: its calibration has no pose of {_UNIT}')

    def drive(self) -> PublishedDrive:
        files = set_files.numbered(self._folder / 'sensors' / 'lidar', ('.feather',))
        if not files:
            raise DatasetError(f'{self._folder} has no sweep')
        cameras, images = self._cameras()
        poses = self._poses(files)
        boxes = self._boxes()
        T_base_lidar = self._placed[_UNIT]
        reads = [
            SweepFile(path, stamp, poses, T_base_lidar, None, boxes.get(stamp))
            for stamp, path in files.items()
        ]
        rings = self._rings(reads)
        sweeps = [
            SweepItem(
                read.stamp_ns,
                read.stamp_ns,
                read.stamp_ns + _TURN_NS,
                dataclasses.replace(read, ring_of_laser=rings),
            )
            for read in reads
        ]
        classes = {k + 1: name for k, name in enumerate(CATEGORIES)} if boxes else {}
        return PublishedDrive(
            self._folder.name,
            cameras,
            T_base_lidar,
            sweeps,
            images,
            poses,
            {UNLABELLED: 'unlabelled', **classes} if classes else {},
            (UNLABELLED,),
            self._notes,
        )

    def _poses(self, files: Mapping[int, Path]) -> Poses:
        path = self._folder / 'city_SE3_egovehicle.feather'
        table = read_feather(path, ('timestamp_ns', *SE3), 'download the log again')
        if not len(table['timestamp_ns']):
            raise DatasetError(f'{path} has no pose')
        poses = Poses.of(np.asarray(table['timestamp_ns'], np.int64), transforms(table))
        return poses.covering(min(files), max(files) + _TURN_NS)

    def _cameras(self) -> tuple[dict[str, PublishedCamera], list[ImageItem]]:
        names = ('fx_px', 'fy_px', 'cx_px', 'cy_px', 'height_px', 'width_px')
        path = self._folder / 'calibration' / 'intrinsics.feather'
        table = read_feather(path, ('sensor_name', *names), 'download the log again')
        cameras, images = {}, []
        for k, name in enumerate(table['sensor_name']):
            files = set_files.numbered(self._folder / 'sensors' / 'cameras' / name, ('.jpg',))
            if not files:
                continue
            if name not in self._placed:
                raise DatasetError(f'{self._folder}: its calibration has no pose of {name}')
            fx, fy, cx, cy, height, width = (float(table[column][k]) for column in names)
            # k1 to k3 are of the images before they were undistorted.
            size = round(width), round(height)
            model = pinhole(intrinsics(fx, fy, cx, cy), size, f'{name}_optical')
            cameras[name] = PublishedCamera(model, self._placed[name])
            images += [
                ImageItem(name, stamp, functools.partial(set_files.read_file, file))
                for stamp, file in files.items()
            ]
        if not cameras:
            raise DatasetError(f'{self._folder} has no images of a camera in {path.name}')
        return cameras, images

    def _rings(self, reads: list[SweepFile]) -> NDArray[np.uint16] | None:
        """Return the beam of each laser, whose numbers are not in order of elevation."""
        laser: list[NDArray[np.intp]] = []
        elevation: list[NDArray[np.float64]] = []
        for read in reads[:: max(1, len(reads) // _SAMPLES)][:_SAMPLES]:
            try:
                table, _, xyz = read.measured()
            except DatasetError:
                continue  # said when its turn comes
            laser.append(table['laser_number'].astype(np.intp))
            elevation.append(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))
        if not laser:
            return None
        numbers, heights = np.concatenate(laser), np.concatenate(elevation)
        # A laser without a return is as good as the lowest.
        middle = np.array(
            [
                np.median(heights[numbers == k]) if (numbers == k).any() else -np.pi
                for k in range(LASERS)
            ]
        )
        ring = np.empty(LASERS, np.uint16)
        ring[np.argsort(-middle, kind='stable')] = np.arange(LASERS, dtype=np.uint16)
        return ring

    def _boxes(self) -> dict[int, Boxes]:
        """Return the labelled boxes by the stamp of the sweep they are of."""
        path = self._folder / 'annotations.feather'
        if not path.is_file():
            return {}
        sizes = ('length_m', 'width_m', 'height_m')
        table = read_feather(
            path,
            ('timestamp_ns', 'track_uuid', 'category', *sizes, *SE3),
            'download the log again, or remove it to import without labels',
        )
        known = {name: k + 1 for k, name in enumerate(CATEGORIES)}
        strange = sorted({str(name) for name in table['category']} - known.keys())
        if strange:
            self._notes.append(f'boxes of {", ".join(strange)} are not imported')
        category = np.array([known.get(name, 0) for name in table['category']], np.uint8)
        tracks = dict.fromkeys(table['track_uuid'])
        number = {name: k + 1 for k, name in enumerate(tracks)}
        instance = np.array([number[name] for name in table['track_uuid']], np.uint16)
        T = transforms(table)
        half = np.stack([np.asarray(table[name], np.float64) for name in sizes], 1) / 2.0
        stamps = np.asarray(table['timestamp_ns'], np.int64)
        found = {}
        for stamp in np.unique(stamps).tolist():
            rows = (stamps == stamp) & (category > 0)
            found[stamp] = Boxes(T[rows], half[rows], category[rows], instance[rows])
        return found


def _read_drive(folder: Path, name: str) -> PublishedDrive:
    return _Log(folder).drive()


SET = PublishedSet(
    title='Argoverse 2 sensor',
    layout='<log>/{sensors,calibration,city_SE3_egovehicle.feather}',
    geometry=SetGeometry(
        compensated_to='start',
        points_frame='vehicle',
        rotation='clockwise',
        begins='not published; the units are half a revolution apart',
        beams='laser_number of the upper unit, in order of elevation',
        point_times='field',
        bag_points='measured',
        no_returns=False,
        cameras_fire='when a unit passes their view, 20 Hz; every other image is near the upper',
        shutter='global',
        licence='CC BY-NC-SA 4.0',
        weights='non-commercial',
    ),
    find=_logs,
    describe=_entry,
    read=_read_drive,
)
