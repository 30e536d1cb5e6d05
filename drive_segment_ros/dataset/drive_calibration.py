"""The calibration in `drive.json`: a camera of a drive, and the poses of the sensors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import CalibrationError, DatasetError
from drive_segment_ros.perception.cameras import CameraModel

_SENSELESS = (
    *(AttributeError, CalibrationError, KeyError),
    *(OverflowError, TypeError, ValueError),
)


@dataclasses.dataclass(frozen=True)
class DriveCalibration:
    """The calibration of all frames of a camera in a drive.

    Attributes:
        camera: at its own resolution.
        T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
        T_base_lidar: (4, 4), to the vehicle's; None if the base frame is not known.
    """

    camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    T_base_lidar: NDArray[np.float64] | None

    @staticmethod
    def of(drive: Drive, camera: str) -> DriveCalibration:
        """Read the calibration of a camera.

        Raises:
            DatasetError: if something is missing or is invalid.
        """
        try:
            values = drive.info['cameras'][camera]
            base = drive.info['lidar'].get('T_base_lidar')
            return DriveCalibration(
                CameraModel.from_dict(values['model']),
                _transform(values['T_camera_lidar']),
                None if base is None else _transform(base),
            )
        except _SENSELESS as err:
            raise DatasetError(
                f'{drive.path / "drive.json"}: the calibration of {camera} is invalid: {err}'
            ) from err

    def camera_entry(self, topic: str, offset_s: float) -> dict[str, Any]:
        """Return the entry of the camera in `drive.json`, as plain numbers, lists and strings.

        Args:
            topic: of its images.
            offset_s: what is added to its images' instants before they are paired, seconds.
        """
        return {
            'topic': topic,
            'frame': self.camera.frame_id,
            'model': self.camera.to_dict(),
            'T_camera_lidar': self.T_camera_lidar.tolist(),
            'offset_s': offset_s,
        }

    def lidar_entry(self, topic: str, frame_id: str) -> dict[str, Any]:
        """Return the entry of the LiDAR in `drive.json`; `of` reads it exactly."""
        base = self.T_base_lidar
        return {
            'topic': topic,
            'frame': frame_id,
            'T_base_lidar': None if base is None else base.tolist(),
        }


def _transform(rows: Any) -> NDArray[np.float64]:
    T = np.array(rows, np.float64).reshape(4, 4)
    if not np.isfinite(T).all() or abs(np.linalg.det(T) - 1.0) > 1e-3:
        raise ValueError('a transform is not rigid')
    return T
