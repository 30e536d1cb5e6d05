"""Adds a drive of a dataset to a recording: frames, labels and the vehicle's path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.perception.transforms import inverse
from offline_training.evaluation.prediction import Predictor
from offline_training.view.frame_view import add_pixels
from offline_training.view.recording import LIDAR, ViewRecording


def add_dataset_drive(
    made: ViewRecording,
    frames: Sequence[FrameRecord],
    calibrations: dict[str, DriveCalibration],
    predictor: Predictor | None,
    advance: Callable[[int], None],
) -> None:
    """Add frames of a drive, in the order of their stamps.

    Args:
        made: the recording.
        frames: of any of its cameras.
        calibrations: by camera.
        predictor: the model for masks, None without.
        advance: called with the number of frames done.

    Raises:
        DatasetError: if a file cannot be read.
    """
    for frame in sorted(frames, key=lambda frame: frame.stamp_ns):
        name, stamp_ns = frame.camera, frame.stamp_ns
        calibration = calibrations[name]
        T_base_lidar = calibration.T_base_lidar
        T_base_lidar = np.eye(4) if T_base_lidar is None else T_base_lidar
        made.place(LIDAR, T_base_lidar, stamp_ns)
        T_base_camera = T_base_lidar @ inverse(calibration.T_camera_lidar)
        made.camera(name, calibration.camera, T_base_camera, stamp_ns)
        if (pose := frame.record.get('T_odom_base')) is not None:
            made.pose(np.array(pose), stamp_ns)
        add_pixels(made, name, stamp_ns, frame.image(), frame, predictor)
        proposals = frame.proposals()
        made.segments(name, stamp_ns, frame.segment(), proposals['id'], proposals['kind'])
        if (offset := frame.record.get('offset_s')) is not None:
            made.offset(name, stamp_ns, offset)
        advance(1)
