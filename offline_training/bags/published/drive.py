"""A drive of a published set, as provided by its importer; data are read on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.cameras import CameraModel
from offline_training.bags.published.geometry import SetGeometry
from offline_training.bags.published.poses import Poses


@dataclasses.dataclass(frozen=True)
class SweepPoints:
    """The points of one sweep of the LiDAR, in its own frame.

    Attributes:
        xyz: (N, 3) float32, metres, as `SetGeometry.bag_points` says.
        intensity: (N,) float32, the set's own scale.
        time: (N,) float32, seconds after the sweep's stamp, when each was measured; None for
            compensated points.
        ring: (N,) uint16 beam, 0 is the highest; None where the order of points tells beams, or
            nothing does.
        semantic: (N,) integer ids of the set's classes; None without labels.
        instance: (N,) uint16 object, 0 = none, the same in all sweeps of a drive; None without.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    time: NDArray[np.float32] | None = None
    ring: NDArray[np.uint16] | None = None
    semantic: NDArray[np.integer] | None = None
    instance: NDArray[np.uint16] | None = None


@dataclasses.dataclass(frozen=True)
class PixelTruth:
    """The published labels of an image's pixels, whole or sparse.

    Attributes:
        semantic: (H, W) integer ids of the set's classes.
        instance: (H, W) uint16, 0 = none; None without.
    """

    semantic: NDArray[np.integer]
    instance: NDArray[np.uint16] | None = None


@dataclasses.dataclass(frozen=True)
class SweepItem:
    """A sweep that can be read.

    Attributes:
        stamp_ns: the instant its points are moved to, or their times refer to, nanoseconds.
        begin_ns, end_ns: when its first and last point were measured, nanoseconds.
        read: returns its points, or raises DriveSegmentError if the file is damaged.
    """

    stamp_ns: int
    begin_ns: int
    end_ns: int
    read: Callable[[], SweepPoints]


@dataclasses.dataclass(frozen=True)
class ImageItem:
    """An image that can be read.

    Attributes:
        camera: its name.
        stamp_ns: the middle of its exposure as far as the set tells, nanoseconds.
        read: returns the published file's bytes, JPEG or PNG, or raises DriveSegmentError.
        read_truth: returns its labels; None without. Where sweeps have labels, and images have
            not, those of the points are carried into them.
    """

    camera: str
    stamp_ns: int
    read: Callable[[], bytes]
    read_truth: Callable[[], PixelTruth] | None = None


@dataclasses.dataclass(frozen=True)
class PublishedCamera:
    """A camera of the rig.

    Attributes:
        model: K and D are those of the images as they are: of rectified images K is that of the
            rectified projection, D is zero, and the optical frame is the rectified one.
        T_base_camera: (4, 4), maps its optical frame to the vehicle's.
    """

    model: CameraModel
    T_base_camera: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class PublishedDrive:
    """One drive.

    Attributes:
        name: as the set calls it.
        cameras: by name.
        T_base_lidar: (4, 4). The vehicle's frame, base_link, has x ahead, z up.
        sweeps: in order of time.
        images: of all cameras, in any order.
        poses: of base_link; None where the set has none.
        classes: the set's class names by the ids in its labels; empty without labels.
        unlabelled: ids that say nothing of a point.
        notes: what is missing or odd, a line each.
        facts: what else truth.json should say.
    """

    name: str
    cameras: Mapping[str, PublishedCamera]
    T_base_lidar: NDArray[np.float64]
    sweeps: Sequence[SweepItem]
    images: Sequence[ImageItem]
    poses: Poses | None = None
    classes: Mapping[int, str] = dataclasses.field(default_factory=dict)
    unlabelled: Sequence[int] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DriveEntry:
    """What a listing says of a drive.

    Attributes:
        name: what to choose it by.
        frames: sweeps.
        cameras: their names.
        labels: `none`, `points`, `boxes`, `pixels`, or a few words.
    """

    name: str
    frames: int
    cameras: tuple[str, ...]
    labels: str


@dataclasses.dataclass(frozen=True)
class PublishedSet:
    """A set's importer: `SET` of its module in `sets`.

    Attributes:
        title: the set's name.
        layout: what its folder holds, one line, for who gave another folder.
        geometry: what its clouds and cameras are like.
        find: returns the folder that each drive below a folder is read from, by its name, without
            reading sensor files; raises DriveSegmentError if it is a release that is not known.
        describe: returns what a listing says of a drive, by that folder and its name.
        read: returns a drive, by that folder and its name; raises DriveSegmentError if files that
            nothing can be done without are missing or damaged.
    """

    title: str
    layout: str
    geometry: SetGeometry
    find: Callable[[Path], Mapping[str, Path]]
    describe: Callable[[Path, str], DriveEntry]
    read: Callable[[Path, str], PublishedDrive]

    def drives(self, root: Path) -> list[DriveEntry]:
        """Return what is in a folder, by name; empty if nothing is.

        Raises:
            DriveSegmentError: if it is a release that is not known.
        """
        return [self.describe(folder, name) for name, folder in sorted(self.find(root).items())]

    def open(self, root: Path, name: str) -> PublishedDrive:
        """Return a drive of a folder.

        Raises:
            DriveSegmentError: if there is none of that name, or files that nothing can be done
                without are missing or damaged.
        """
        folder = self.find(root).get(name)
        if folder is None:
            raise DatasetError(f'{root} has no drive {name}; it holds {self.title}')
        return self.read(folder, name)
