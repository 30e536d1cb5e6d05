"""Writes a published drive as a bag, and its ground truth beside it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import DatasetError, DriveSegmentError
from drive_segment_ros.perception.transforms import inverse
from offline_training.bags.published.drive import (
    ImageItem,
    PublishedDrive,
    SweepItem,
    SweepPoints,
)
from offline_training.bags.published.poses import SINGLE_POSE, Poses
from offline_training.bags.published.truth_writer import DriveTruth
from offline_training.common.bag_recording import Recording

LIDAR_TOPIC, LIDAR_FRAME = '/lidar/points', 'lidar'
_PNG, _JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8'


@dataclasses.dataclass
class WrittenDrive:
    """What became of a drive.

    Attributes:
        images, sweeps, points: written.
        labelled: images and sweeps with a truth.
        notes: what is missing or odd, a line each.
    """

    images: int = 0
    sweeps: int = 0
    points: int = 0
    labelled: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)


def write_drive(
    drive: PublishedDrive,
    bag: Path,
    truth: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WrittenDrive:
    """Write a drive.

    Damaged files are skipped and noted.

    Args:
        drive: which.
        bag: the folder to make.
        truth: of its truth; made only if there are labels.
        progress: called with messages written and in all.

    Raises:
        DatasetError: if nothing of the drive can be read.
    """
    written = WrittenDrive(notes=list(drive.notes))
    poses = _covering(drive)
    if drive.poses is not None and len(drive.poses.stamps_ns) == 1:
        written.notes.append(SINGLE_POSE.format(drive.name))
    items: list[ImageItem | SweepItem] = [*drive.images, *drive.sweeps]
    items.sort(key=_arrival_ns)
    if not any(isinstance(item, SweepItem) for item in items):
        raise DatasetError(f'{drive.name}: it has no sweep of the LiDAR')
    first_ns = min(_arrival_ns(item) for item in items)
    with Recording(bag) as recording, DriveTruth(truth, drive, poses) as labels:
        _add_static(recording, drive, first_ns)
        if poses is not None:
            _add_poses(recording, poses)
        for number, item in enumerate(items):
            arrival_ns = _arrival_ns(item)
            recording.write_until(arrival_ns)
            with _damage_noted(written):
                if isinstance(item, ImageItem):
                    _add_image(recording, drive, item)
                    written.images += 1
                    labels.add_image(item)
                else:
                    points = item.read()
                    _add_sweep(recording, item, points)
                    written.sweeps += 1
                    written.points += len(points.xyz)
                    labels.add_sweep(item, points)
            progress(number + 1, len(items))
        labels.finish()
    written.labelled = labels.count
    if not written.sweeps:
        raise DatasetError(f'{drive.name}: no sweep can be read: {written.notes[-1]}')
    return written


@contextlib.contextmanager
def _damage_noted(written: WrittenDrive) -> Iterator[None]:
    """Note an error in the data, and go on."""
    try:
        yield
    except DriveSegmentError as err:
        written.notes.append(str(err))


def _arrival_ns(item: ImageItem | SweepItem) -> int:
    """Return when a message is there: a sweep once it is complete."""
    if isinstance(item, ImageItem):
        return item.stamp_ns
    return max(item.stamp_ns, item.end_ns)


def _covering(drive: PublishedDrive) -> Poses | None:
    """Return the poses, gone on with to where the first and the last message need one."""
    if drive.poses is None or not len(drive.poses.stamps_ns):
        return None
    stamps = [image.stamp_ns for image in drive.images]
    stamps += [sweep.stamp_ns for sweep in drive.sweeps]
    stamps += [ns for sweep in drive.sweeps for ns in (sweep.begin_ns, sweep.end_ns)]
    return drive.poses.covering(min(stamps), max(stamps))


def _add_static(recording: Recording, drive: PublishedDrive, stamp_ns: int) -> None:
    placed = {LIDAR_FRAME: drive.T_base_lidar}
    placed |= {camera.model.frame_id: camera.T_base_camera for camera in drive.cameras.values()}
    make = recording.make
    transforms = [
        make.transform(stamp_ns, 'base_link', frame, T[:3, 3], _quaternion(T))
        for frame, T in placed.items()
    ]
    recording.add('/tf_static', make.transforms(transforms), stamp_ns)


def _add_poses(recording: Recording, poses: Poses) -> None:
    make = recording.make
    speeds = list(_speeds(poses))
    turns = poses.quaternions()
    for k, stamp in enumerate(poses.stamps_ns.tolist()):
        position = poses.T_odom_base[k, :3, 3]
        moved = make.transform(stamp, 'odom', 'base_link', position, turns[k])
        recording.add('/tf', make.transforms([moved]), stamp)
        odometry = make.odometry(stamp, position, turns[k], *speeds[k])
        recording.add('/odom', odometry, stamp)


def _speeds(poses: Poses) -> Iterator[tuple[float, float]]:
    """Yield speed ahead, m/s, and yaw rate, rad/s, of each pose, since the one before it."""
    stamps, T = poses.stamps_ns, poses.T_odom_base
    for k in range(len(stamps)):
        j = max(k, 1)
        if j >= len(stamps):
            yield 0.0, 0.0
            return
        step = inverse(T[j - 1]) @ T[j]
        seconds = float(stamps[j] - stamps[j - 1]) * 1e-9
        yaw = float(np.arctan2(step[1, 0], step[0, 0]))
        yield float(step[0, 3]) / seconds, yaw / seconds


def _add_image(recording: Recording, drive: PublishedDrive, item: ImageItem) -> None:
    model, topic = drive.cameras[item.camera].model, f'/camera/{item.camera}'
    data = item.read()
    form = 'png' if data.startswith(_PNG) else 'jpeg' if data.startswith(_JPEG) else ''
    if not form:
        raise DatasetError(
            f'{drive.name}: the image of {item.camera} at {item.stamp_ns} ns is neither JPEG nor '
            'PNG; it is skipped'
        )
    make = recording.make
    encoded = np.frombuffer(data, np.uint8)
    image = make.compressed_image(item.stamp_ns, model.frame_id, encoded, form)
    recording.add(f'{topic}/image_raw/compressed', image, item.stamp_ns)
    info = make.camera_info(
        item.stamp_ns,
        model.frame_id,
        (model.width, model.height),
        model.K,
        model.D,
        model.distortion_model,
        model.R,
        model.P,
    )
    recording.add(f'{topic}/camera_info', info, item.stamp_ns)


def _add_sweep(recording: Recording, item: SweepItem, points: SweepPoints) -> None:
    message = recording.make.point_cloud(item.stamp_ns, LIDAR_FRAME, _packed(points))
    recording.add(LIDAR_TOPIC, message, _arrival_ns(item))


def _packed(points: SweepPoints) -> NDArray[np.void]:
    columns: Mapping[str, NDArray[Any] | None] = {
        'x': points.xyz[:, 0],
        'y': points.xyz[:, 1],
        'z': points.xyz[:, 2],
        'intensity': points.intensity,
        't': points.time,
        'ring': points.ring,
    }
    known = {name: values for name, values in columns.items() if values is not None}
    form = [(name, '<u2' if name == 'ring' else '<f4') for name in known]
    packed = np.empty(len(points.xyz), form)
    for name, values in known.items():
        packed[name] = values
    return packed


def _quaternion(T: NDArray[np.float64]) -> NDArray[np.float64]:
    quaternion = Rotation.from_matrix(T[:3, :3]).as_quat()
    return quaternion if quaternion[3] >= 0 else -quaternion
