"""Checks of any imported drive of `box_world`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import box_world
import cv2
import numpy as np
from box_world import GROUND, colours

from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.view import View
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.projection import ProjectedPoints
from drive_segment_ros.perception.transforms import transform_matrix
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from offline_training.bags.bag_rig import find_rig
from offline_training.bags.import_record import read_record

# Pixels this close to another instance are edge pixels.
_MARGIN = 2


def on_their_own_instance(bag: Path, truth_of_points: dict[int, np.ndarray]) -> tuple[float, int]:
    """Return the share of points that project onto their own instance, and how many are counted.

    Edge pixels and ground points on ground pixels are not counted. Points are compensated and
    projected as by `extract`, with the parameters that the bag declares.

    Args:
        bag: imported drive of `box_world`.
        truth_of_points: (N,) instance of each point, by the sweep's stamp.
    """
    right = counted = 0
    for stamp_ns, image, points in views(bag):
        shown = _instances(image)
        own = truth_of_points[stamp_ns][points.index]
        u, v = np.rint(points.u).astype(int), np.rint(points.v).astype(int)
        other = shown[v, u]
        use = _inside(shown)[v, u] & ((own > GROUND) | (other > GROUND))
        right += int(np.count_nonzero((own == other) & use))
        counted += int(np.count_nonzero(use))
    return right / max(counted, 1), counted


def views(bag: Path) -> Iterator[tuple[int, np.ndarray, ProjectedPoints]]:
    """Yield for each pair the sweep's stamp, the image (H, W, 3) uint8 BGR, and its points."""
    record = read_record(bag)
    assert record is not None
    params = from_flat(FrameParameters, dict(record.parameters))
    with BagReader(bag) as reader:
        rig = find_rig(reader, params)
        for pair in rig.pairs(rig.stream()):
            data, _ = pair.image.content.encoded()
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image.shape[:2] == (pair.camera.height, pair.camera.width)
            points = View.of(pair, pair.camera, params).points()
            yield pair.sweep.stamp_ns, image, points


def _instances(picture: np.ndarray) -> np.ndarray:
    """Return the instance whose colour is nearest to that of each pixel, (H, W)."""
    known = colours().astype(int)
    apart = np.abs(picture.astype(int)[:, :, None] - known).sum(axis=3)
    return apart.argmin(axis=2)


def _inside(shown: np.ndarray) -> np.ndarray:
    size = 2 * _MARGIN + 1
    kernel = np.ones((size, size), np.uint8)
    image = shown.astype(np.uint8)
    return cv2.dilate(image, kernel) == cv2.erode(image, kernel)


def clouds(bag: Path) -> list[PointCloud]:
    """Return a bag's sweeps."""
    with BagReader(bag) as reader:
        return [
            cloud_from_message(reader.deserialize(message.raw, message.msgtype))
            for message in reader.messages(['/lidar/points'])
        ]


def odometry_error(bag: Path, start_ns: int, end_ns: int) -> tuple[float, float]:
    """Return the largest errors of the bag's odometry in an interval, metres and degrees.

    Poses are relative to the first one in the interval, which should not include the poses that
    import extrapolates beyond the published ones.

    Args:
        bag: imported drive of `box_world`.
        start_ns: start of the interval, the stamp of time 0 of the drive.
        end_ns: end of the interval.
    """
    errors = []
    with BagReader(bag) as reader:
        read = [
            reader.deserialize(message.raw, message.msgtype)
            for message in reader.messages(['/odom'])
        ]
    first = None
    for message in read:
        stamp = header_stamp_ns(message)
        if not start_ns <= stamp <= end_ns:
            continue
        at, turn = message.pose.pose.position, message.pose.pose.orientation
        T = transform_matrix([at.x, at.y, at.z], [turn.x, turn.y, turn.z, turn.w])
        true = box_world.pose((stamp - start_ns) * 1e-9)
        first = (T, true) if first is None else first
        apart = np.linalg.inv(np.linalg.inv(first[1]) @ true) @ np.linalg.inv(first[0]) @ T
        angle = np.degrees(np.arccos(np.clip((np.trace(apart[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)))
        errors.append((np.linalg.norm(apart[:3, 3]), angle))
    assert len(errors) >= 3
    metres, degrees = np.max(errors, axis=0)
    return float(metres), float(degrees)
