"""What any imported drive of the street of boxes must fulfil."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from box_world import GROUND, colours

from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.view import View
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags.bag_rig import find_rig
from offline_training.bags.import_record import read_record

# A pixel this near to another instance is at an edge.
_MARGIN = 2


def on_their_own_instance(bag: Path, truth_of_points: dict[int, np.ndarray]) -> tuple[float, int]:
    """Return which share of points lie on their own instance in the images, and of how many.

    Counted are those away from edges that are of an object, or lie on one: ground is everywhere.
    Points are moved and projected as `extract` does, by what the bag declares.

    Args:
        bag: of a drive through the street of boxes.
        truth_of_points: (N,) instance of each point, by the sweep's stamp.
    """
    record = read_record(bag)
    assert record is not None
    params = from_flat(FrameParameters, dict(record.parameters))
    right = counted = 0
    with BagReader(bag) as reader:
        rig = find_rig(reader, params)
        for pair in rig.pairs(rig.stream()):
            data, _ = pair.image.content.encoded()
            shown = _instances(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
            assert shown.shape == (pair.camera.height, pair.camera.width)
            points = View.of(pair, pair.camera, params).points()
            own = truth_of_points[pair.sweep.stamp_ns][points.index]
            u, v = np.rint(points.u).astype(int), np.rint(points.v).astype(int)
            other = shown[v, u]
            use = _inside(shown)[v, u] & ((own > GROUND) | (other > GROUND))
            right += int(np.count_nonzero((own == other) & use))
            counted += int(np.count_nonzero(use))
    return right / max(counted, 1), counted


def _instances(picture: np.ndarray) -> np.ndarray:
    """Return the instance that each pixel's colour is nearest to."""
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
