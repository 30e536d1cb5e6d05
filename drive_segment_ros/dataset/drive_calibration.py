"""A drive's calibration as `drive.json` has it: the camera, and where the sensors are."""

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
    """What holds for all frames of a drive.

    Attributes:
        camera: at its own resolution.
        T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
        T_base_lidar: (4, 4), to the vehicle's; None where its base frame is not known, and in
            drives of earlier versions.
    """

    camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    T_base_lidar: NDArray[np.float64] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and strings; `of` gives the same back."""
        base = self.T_base_lidar
        return {
            'camera': self.camera.to_dict(),
            'T_camera_lidar': self.T_camera_lidar.tolist(),
            'T_base_lidar': None if base is None else base.tolist(),
        }

    @staticmethod
    def of(drive: Drive) -> DriveCalibration:
        """Read a drive's.

        Raises:
            DatasetError: if something is missing or makes no sense.
        """
        try:
            values = drive.info['calibration']
            base = values.get('T_base_lidar')
            return DriveCalibration(
                CameraModel.from_dict(values['camera']),
                _transform(values['T_camera_lidar']),
                None if base is None else _transform(base),
            )
        except _SENSELESS as err:
            raise DatasetError(
                f'{drive.path / "drive.json"}: the calibration makes no sense: {err}'
            ) from err


def _transform(rows: Any) -> NDArray[np.float64]:
    T = np.array(rows, np.float64).reshape(4, 4)
    if not np.isfinite(T).all() or abs(np.linalg.det(T) - 1.0) > 1e-3:
        raise ValueError('a transform is no rigid one')
    return T
