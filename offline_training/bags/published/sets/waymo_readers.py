"""Sweeps and images of Waymo's version 2, each read when it is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import DatasetError, MotionError
from drive_segment_ros.perception.transforms import inverse
from offline_training.bags.published.drive import SweepPoints
from offline_training.bags.published.poses import Poses, as_measured
from offline_training.bags.published.sets.waymo_components import Component

LIDAR = '[LiDARComponent].range_image_return1'
POSE = '[LiDARPoseComponent].range_image_return1'
LABEL = '[LiDARSegmentationLabelComponent].range_image_return1'
IMAGE = '[CameraImageComponent]'


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
        image = lidar.array(self.row, LIDAR)
        height, width = image.shape[:2]
        row, column = np.nonzero(image[..., 0] > 0)
        ranges = image[row, column, 0].astype(np.float64)
        measured = ranges[:, None] * self._rays(height, width)[row, column]
        pose = Component(self.folder, 'lidar_pose', self.segment).array(self.pose_row, POSE)
        if pose.shape[:2] != (height, width):
            raise DatasetError(f'{lidar.path}: the poses of row {self.row} have another size')
        moved = self._moved(measured, pose[row, column].astype(np.float64))
        time = np.linspace(*self.times, width)[column]
        try:
            # Whoever moves them by the drive's poses finds them where the pixels' poses say.
            xyz = as_measured(moved, time, self.stamp_ns, self.poses, self.T_base_lidar)
        except MotionError as err:
            raise DatasetError(f'{lidar.path}: row {self.row}: {err}; it is skipped') from err
        points = SweepPoints(
            xyz,
            image[row, column, 1].astype(np.float32),
            time.astype(np.float32),
            row.astype(np.uint16),
        )
        if self.label_row is None:
            return points
        labels = Component(self.folder, 'lidar_segmentation', self.segment)
        label = labels.array(self.label_row, LABEL)
        if label.shape != (height, width, 2):
            raise DatasetError(f'{labels.path}: row {self.label_row} has another size')
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
        data = component.value(self.row, f'{IMAGE}.image')
        if not isinstance(data, bytes) or not data:
            raise DatasetError(f'{component.path}: row {self.row} has no image; it is skipped')
        return data
