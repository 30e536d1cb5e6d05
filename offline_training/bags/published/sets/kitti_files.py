"""Files that KITTI's raw recordings and its odometry benchmark have in common.

Layouts and conventions: the readme files of both development kits (A. Geiger, P. Lenz, R. Urtasun,
"Vision meets robotics: the KITTI dataset", IJRR 2013), and pykitti, which reads them.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.beam_order import beams_from_order, beams_of_turns
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from offline_training.bags.published.sets import set_files
from offline_training.bags.published.sets.set_cameras import pinhole

# The HDL-64E's; heights above ground by the drawing of the vehicle's sensors (m).
BEAMS = 64
LIDAR_HEIGHT, IMU_HEIGHT = 1.73, 0.93
# The highest beam has more returns than this, if it has any.
_FEW = 5


def read_points(path: Path) -> NDArray[np.float32]:
    """Read a sweep, (N, 4) float32: x, y, z in metres, reflectance 0 to 1.

    Args:
        path: `.bin`, float32 values; or `.txt`, as the unsynchronised recordings have it, a point
            a line.

    Raises:
        DatasetError: if it is missing, cut off, or holds something else.
    """
    if path.suffix != '.txt':
        return set_files.read_array(path, '<f4', 4)
    try:
        return np.array(set_files.read_file(path).split(), np.float32).reshape(-1, 4)
    except ValueError as err:
        raise DatasetError(f'{path} does not have four numbers per line; it is skipped') from err


def read_calibration(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read `name: numbers` lines; lines of other content, such as dates, are passed over.

    Raises:
        DatasetError: if it is missing or no text.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for line in set_files.read_text(
        path, 'download the calibration, and unpack it there'
    ).splitlines():
        name, _, values = line.partition(':')
        try:
            numbers = np.array(values.split(), np.float64)
        except ValueError:
            continue
        if len(numbers):
            found[name.strip()] = numbers
    return found


def matrix(
    calibration: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, ...], path: Path
) -> NDArray[np.float64]:
    """Return a matrix of a calibration.

    Raises:
        DatasetError: if it is missing, or has other numbers.
    """
    values = calibration.get(name, np.empty(0))
    if values.size != int(np.prod(shape)) or not np.isfinite(values).all():
        raise DatasetError(f'{path}: {name} is missing or not {"x".join(map(str, shape))} numbers')
    return values.reshape(shape)


def rectified_camera(
    P: NDArray[np.float64], size: tuple[int, int], frame_id: str
) -> tuple[CameraModel, NDArray[np.float64]]:
    """Return a rectified camera with an optical frame of its own.

    Args:
        P: (3, 4) projection of the first camera's rectified frame.
        size: width and height, px.
        frame_id: its optical frame.

    Returns:
        The camera, and (4, 4) that maps the first camera's rectified frame to its own: the fourth
        column of P is where it stands beside the first.
    """
    K = P[:, :3].copy()
    beside = np.asarray(np.linalg.solve(K, P[:, 3]), np.float64)
    return pinhole(K, size, frame_id), set_files.rigid(np.eye(3), beside)


def read_stamps(path: Path) -> list[int | None]:
    """Read a file of times of day, a line a frame, as nanoseconds; None for an empty line.

    Lines are empty where frames were lost. Times have no zone, and are taken as UTC.

    Raises:
        DatasetError: if it is missing, or a line is no time.
    """
    stamps: list[int | None] = []
    for number, line in enumerate(
        set_files.read_text(path, 'download the recording again').splitlines()
    ):
        text = line.strip()
        if not text:
            stamps.append(None)
            continue
        whole, _, part = text.partition('.')
        try:
            day = datetime.datetime.strptime(whole, '%Y-%m-%d %H:%M:%S')
            nanoseconds = int((part + '0' * 9)[:9])
        except ValueError as err:
            raise DatasetError(f'{path}, line {number + 1}: {text!r} is not a time') from err
        seconds = int(day.replace(tzinfo=datetime.timezone.utc).timestamp())
        stamps.append(seconds * 1_000_000_000 + nanoseconds)
    return stamps


def rings_of(xyz: NDArray[np.float32]) -> NDArray[np.uint16] | None:
    """Return the beams of a sweep, which lists one turn after the other, the highest first.

    Points without return are left out, but not rows: azimuth counts from straight ahead to the
    left, and wraps where the next row begins.

    Args:
        xyz: (N, 3) metres.

    Returns:
        (N,) uint16, 0 for the highest; None where the order tells no more than 64 beams.
    """
    x, y, z = np.ascontiguousarray(xyz.T)
    cloud = PointCloud(0, '', x, y, z)
    ring = beams_of_turns(cloud, start=0.0)
    if ring is not None:
        # A file may begin just before straight ahead, and end just beyond it.
        points = np.bincount(ring[ring >= 0])
        last = len(points) - 1 - int(points[-1] < _FEW)
        ring = np.minimum(ring, last) - int(points[0] < _FEW)
    if ring is None or ring.max(initial=0) >= BEAMS:
        # Some turns were not told apart, or told apart where they should not be.
        found = beams_from_order(cloud)
        ring = None if found is None or found[2] != 'rows' else found[0]
    if ring is None or ring.max(initial=0) >= BEAMS:
        return None
    return np.maximum(ring, 0).astype(np.uint16)


def turn_of(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the part of the sweep's time that had passed at each point, (N,) 0 to 1.

    The sensor turns clockwise, seen from above, and begins behind; ahead is one half.
    """
    yaw = -np.arctan2(xyz[:, 1].astype(np.float64), xyz[:, 0].astype(np.float64))
    return 0.5 * (yaw / np.pi + 1.0)
