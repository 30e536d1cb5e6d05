"""Writes a published drive's labels beside its bag, in the layout of simulated ground truth.

    <bag>_truth/truth.json                      calibration, where labels are from
    <bag>_truth/point_labels/<stamp>.npz        semantic, instance: one a point, in the cloud's order
    <bag>_truth/point_labels/classes.json       the set's names; 255 is unlabelled
    <bag>_truth/<camera>/semantic/<stamp>.png   uint8 class; of points, only where one is seen
    <bag>_truth/<camera>/instance/<stamp>.png   uint16, 0 = none

`<stamp>` is the header stamp, nanoseconds. Class ids are the set's, counted through without gaps,
since a set's own may be larger than a byte; `ids` of `classes.json` has those. Only scoring reads
truth.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import MotionError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.projection import project_sweep
from drive_segment_ros.perception.transforms import inverse
from offline_training.bags.published.drive import (
    ImageItem,
    PixelTruth,
    PublishedDrive,
    SweepItem,
    SweepPoints,
)
from offline_training.bags.published.poses import Poses
from offline_training.common.files import write_json, write_png

_CLASSES_FILE = 'classes.json'
# A point stands for its pixel and those around it: row and column.
_DOT = np.array([(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)])


class DriveTruth:
    """Takes a drive's images and sweeps in order of arrival, and writes what labels they have.

    A context manager; without labels nothing is made.

    Attributes:
        count: images and sweeps with a truth, so far.
    """

    def __init__(self, path: Path, drive: PublishedDrive, poses: Poses | None) -> None:
        self.count = 0
        self._path, self._drive, self._poses = path, drive, poses
        self._number_of_id = _numbers(drive.classes, drive.unlabelled)
        self._waiting: list[ImageItem] = []
        self._last: tuple[SweepItem, SweepPoints] | None = None

    def __enter__(self) -> DriveTruth:
        if not self._drive.classes:
            return self
        known = [key for key in sorted(self._drive.classes) if key not in self._drive.unlabelled]
        classes = {
            'ignore': IGNORE_LABEL,
            'classes': [self._drive.classes[key] for key in known],
            'ids': known,
        }
        folders = [self._path / 'point_labels']
        folders += [self._path / camera / 'semantic' for camera in self._drive.cameras]
        for folder in folders:
            folder.mkdir(parents=True)
            write_json(folder / _CLASSES_FILE, classes)
        for camera in self._drive.cameras:
            (self._path / camera / 'instance').mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
        self._last = None

    def add_image(self, item: ImageItem) -> None:
        """Write an image's own labels, or let it wait for the sweep whose labels it gets."""
        if not self._drive.classes:
            return
        if item.read_truth is None:
            self._waiting.append(item)
        else:
            truth = item.read_truth()
            self._write_pixels(item, self._number_of_id[truth.semantic], truth)

    def add_sweep(self, item: SweepItem, points: SweepPoints) -> None:
        """Write a sweep's labels, and those of the images taken during it or before."""
        if not self._drive.classes or points.semantic is None:
            return
        semantic = self._number_of_id[points.semantic]
        instance = points.instance
        if instance is None:
            instance = np.zeros(len(semantic), np.uint16)
        path = self._path / 'point_labels' / f'{item.stamp_ns}.npz'
        np.savez(path, semantic=semantic, instance=instance)
        self.count += 1
        for image in self._waiting:
            nearest = (item, points)
            if self._last is not None and _apart(image, self._last[0]) < _apart(image, item):
                nearest = self._last
            self._carry(image, *nearest)
        self._waiting.clear()
        self._last = item, points

    def finish(self) -> None:
        """Write the labels of the images after the last sweep, and what holds for all."""
        for image in self._waiting:
            if self._last is not None:
                self._carry(image, *self._last)
        self._waiting.clear()
        if self._drive.classes:
            write_json(self._path / 'truth.json', self._summary())

    def _summary(self) -> dict[str, Any]:
        drive = self._drive
        cameras = {
            name: {**camera.model.to_dict(), 'T_base_camera': camera.T_base_camera.tolist()}
            for name, camera in drive.cameras.items()
        }
        return {
            'drive': drive.name,
            'cameras': cameras,
            'T_base_lidar': drive.T_base_lidar.tolist(),
            'labelled': self.count,
            **drive.facts,
        }

    def _carry(self, image: ImageItem, sweep: SweepItem, points: SweepPoints) -> None:
        """Write the labels of a sweep's points where they lie in an image."""
        if points.semantic is None:
            return
        model = self._drive.cameras[image.camera].model
        found = self._project(image, sweep, points)
        if found is None:
            return
        semantic = np.full((model.height, model.width), IGNORE_LABEL, np.uint8)
        instance = np.zeros((model.height, model.width), np.uint16)
        label = self._number_of_id[points.semantic[found.index]]
        objects = None if points.instance is None else points.instance[found.index]
        rows, columns = np.rint(found.v).astype(int), np.rint(found.u).astype(int)
        # The farthest first: of dots that overlap the nearest point's stays.
        order = np.argsort(-found.depth, kind='stable')
        v = np.clip(rows[order, None] + _DOT[:, 0], 0, model.height - 1)
        u = np.clip(columns[order, None] + _DOT[:, 1], 0, model.width - 1)
        semantic[v, u] = label[order, None]
        if objects is not None:
            instance[v, u] = objects[order, None]
        self._write_pixels(image, semantic, PixelTruth(semantic, instance))

    def _project(
        self, image: ImageItem, sweep: SweepItem, points: SweepPoints
    ) -> ProjectedPoints | None:
        """Return a sweep's points that an image shows; None if where they are is not known."""
        camera = self._drive.cameras[image.camera]
        T_camera_lidar = inverse(camera.T_base_camera) @ self._drive.T_base_lidar
        x, y, z = np.ascontiguousarray(points.xyz.T)
        cloud = PointCloud(sweep.stamp_ns, '', x, y, z, time=points.time)
        motion = None
        if self._poses is not None:
            first, last = 0.0, 0.0
            if points.time is not None and len(points.time):
                first, last = float(points.time.min()), float(points.time.max())
            try:
                motion = self._poses.trajectory.sweep_motion(
                    sweep.stamp_ns, image.stamp_ns, self._drive.T_base_lidar, first, last
                )
            except MotionError:
                return None
        found = project_sweep(cloud, camera.model, T_camera_lidar, motion)
        return found.where(visible(found, camera.model)) if len(found) else found

    def _write_pixels(
        self, image: ImageItem, semantic: NDArray[np.uint8], truth: PixelTruth
    ) -> None:
        folder, name = self._path / image.camera, f'{image.stamp_ns}.png'
        write_png(folder / 'semantic' / name, semantic)
        if truth.instance is not None:
            write_png(folder / 'instance' / name, truth.instance)
        self.count += 1


def _numbers(classes: Mapping[int, str], unlabelled: Sequence[int]) -> NDArray[np.uint8]:
    """Return the number in the truth of each of a set's ids, (65536,) uint8."""
    number = np.full(65536, IGNORE_LABEL, np.uint8)
    known = [key for key in sorted(classes) if key not in unlabelled]
    number[known] = np.arange(len(known), dtype=np.uint8)
    return number


def _apart(image: ImageItem, sweep: SweepItem) -> int:
    """Return how far in time an image is from a sweep, 0 within it, nanoseconds."""
    return max(sweep.begin_ns - image.stamp_ns, image.stamp_ns - sweep.end_ns, 0)
