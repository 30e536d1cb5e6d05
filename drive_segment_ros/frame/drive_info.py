"""The content of `drive.json`, for drives recorded on the road or extracted from bags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import drive_segment_ros
from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import to_flat


def drive_info(
    pair: Pair,
    lidar: str,
    odometry: Sequence[str],
    params: FrameParameters,
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the entries of all frames of a drive; cameras are added when they appear.

    Args:
        pair: the first.
        lidar: topic of the sweeps.
        odometry: topics of the vehicle's motion.
        params: of the frames.
        source: of the messages.
    """
    return {
        'cameras': {},
        'lidar': _calibration(pair).lidar_entry(lidar, pair.sweep.frame_id),
        'odometry': list(odometry),
        'parameters': to_flat(params),
        'software': f'drive_segment_ros {drive_segment_ros.__version__}',
        'source': dict(source),
    }


def camera_info(pair: Pair, topic: str) -> dict[str, Any]:
    """Return the entries of all frames of a camera.

    Args:
        pair: its first.
        topic: of its images.
    """
    return _calibration(pair).camera_entry(topic, pair.camera_offset_s)


def _calibration(pair: Pair) -> DriveCalibration:
    return DriveCalibration(pair.camera, pair.T_camera_lidar, pair.T_base_lidar)
