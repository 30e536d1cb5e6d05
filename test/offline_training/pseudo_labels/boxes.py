"""Synthetic drives past boxes, rendered for a calibrated camera and a LiDAR."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.perception.cameras import CameraModel

WIDTH, HEIGHT = 320, 240
CAMERA = CameraModel(
    width=WIDTH,
    height=HEIGHT,
    K=np.array([[200.0, 0.0, 160.0], [0.0, 200.0, 120.0], [0.0, 0.0, 1.0]]),
    D=np.zeros(5),
    R=np.eye(3),
    P=np.zeros((3, 4)),
    distortion_model='plumb_bob',
    frame_id='camera',
    rectified=False,
)
# The LiDAR is on the roof, yawed by 90 degrees; the camera looks forward from the windscreen.
T_BASE_LIDAR = np.array(
    [[0.0, -1.0, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.8], [0.0, 0.0, 0.0, 1.0]]
)
T_CAMERA_BASE = np.array(
    [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.2], [1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 1.0]]
)
CALIBRATION = DriveCalibration(CAMERA, T_CAMERA_BASE @ T_BASE_LIDAR, T_BASE_LIDAR)


@dataclasses.dataclass
class Box:
    """An object: centre in the odom frame and size, metres; `kind` is that of its proposal."""

    x: float
    y: float
    z: float = 1.0
    wide: float = 2.0
    high: float = 2.0
    long: float = 2.0
    kind: int = 0


def pose(x=0.0, yaw=0.0):
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[0, 3] = x
    return T


def seen_from(T_odom_base, boxes):
    """Return segment image and proposals of boxes seen from a pose; near boxes hide far ones."""
    centre = np.array([[box.x, box.y, box.z] for box in boxes]).reshape(-1, 3)
    base = (centre - T_odom_base[:3, 3]) @ T_odom_base[:3, :3]
    segment = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint16)
    for index in np.argsort(-base[:, 0]):
        x, y, z = T_CAMERA_BASE[:3, :3] @ base[index] + T_CAMERA_BASE[:3, 3]
        if z < 0.5:
            continue
        u, v = 100.0 * x / z + 80.0, 100.0 * y / z + 60.0
        half_u, half_v = (50.0 * size / z for size in (boxes[index].wide, boxes[index].high))
        rows = slice(max(round(v - half_v), 0), max(round(v + half_v), 0))
        segment[rows, max(round(u - half_u), 0) : max(round(u + half_u), 0)] = index + 1
    from_lidar = base - T_BASE_LIDAR[:3, 3]
    proposals = {
        'id': np.arange(1, len(boxes) + 1, dtype=np.uint16),
        'kind': np.array([box.kind for box in boxes], np.uint8),
        'range': np.linalg.norm(from_lidar, axis=1).astype(np.float32),
        'extent_long': np.array([box.long for box in boxes], np.float32),
        'extent_short': np.array([box.wide for box in boxes], np.float32),
        'extent_vertical': np.array([box.high for box in boxes], np.float32),
        'height_min': np.array([box.z - 0.5 * box.high for box in boxes], np.float32),
        'height_max': np.array([box.z + 0.5 * box.high for box in boxes], np.float32),
        **{
            f'centroid_{axis}': from_lidar[:, k].astype(np.float32) for k, axis in enumerate('xyz')
        },
    }
    return segment, proposals


def info(calibration: DriveCalibration, *cameras: str) -> dict:
    """Return the content of `drive.json` for cameras that share one calibration."""
    return {
        'cameras': {name: calibration.camera_entry('/image', 0.0) for name in cameras},
        'lidar': calibration.lidar_entry('/points', 'lidar'),
    }


def write_boxes(drive: Path, boxes: list[Box], frames: int, *cameras: str) -> None:
    """Write a drive past boxes, each of a random colour, at 2 m per frame.

    Frames 5, 12, 19, ... have no pose. Cameras after the first show its mirrored segments.
    """
    random = np.random.default_rng(7)
    colours = random.integers(0, 255, (len(boxes) + 1, 3))
    with DriveWriter(drive, info(CALIBRATION, *cameras)) as writer:
        for index in range(frames):
            T = pose(2.0 * index)
            segment, proposals = seen_from(T, boxes)
            proposals['points'] = np.full(len(boxes), 50, np.int32)
            sweep = SweepRecord(10**9 + index * 10**8, proposals)
            record = {} if index % 7 == 5 else {'T_odom_base': T.tolist()}
            for shift, camera in enumerate(cameras):
                shown = segment if shift == 0 else segment[:, ::-1]
                picture = colours[shown].repeat(2, axis=0).repeat(2, axis=1)
                picture = np.clip(picture + random.normal(0, 9, picture.shape), 0, 255)
                image = encode_png(picture.astype(np.uint8))
                stamp = sweep.stamp_ns + shift
                writer.add(Frame(camera, stamp, image, '.png', shown.copy(), sweep, record))
