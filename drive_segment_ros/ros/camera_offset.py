"""When the LiDAR looks where the camera looks: the offset by which their stamps are paired."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.projection import view_times
from drive_segment_ros.perception.transforms import TransformTree

if TYPE_CHECKING:
    from drive_segment_ros.ros.frame_parameters import GeometryParameters

# As many sweeps are looked at; a camera no point falls into has no offset to find.
_SWEEPS = 10


class CameraOffset:
    """Takes the offset from the first sweep that has points in the camera's view.

    Attributes:
        value_s: seconds to add to the camera's stamps; None while it is not known. 0 if points
            carry no time or none of the first sweeps has one in view.
    """

    def __init__(
        self,
        fixed_s: float | None,
        transforms: TransformTree,
        parameters: GeometryParameters,
        image_topic: Callable[[], str] = str,
    ) -> None:
        """Begin.

        Args:
            fixed_s: the offset where it is given; nothing is looked for then.
            transforms: extrinsics of both sensors.
            parameters: the frames'; how cameras and clouds are read.
            image_topic: returns the resolved name of the camera's images, see `is_rectified`.
        """
        self._image_topic = image_topic
        self.value_s = fixed_s
        self._transforms = transforms
        self._parameters = parameters
        self._seen = 0

    def look(self, camera_info: Any, sweep: Any, frame_id: str = '') -> None:
        """Look at the next sweep, in the order of their stamps.

        Args:
            camera_info: sensor_msgs/CameraInfo.
            sweep: sensor_msgs/PointCloud2.
            frame_id: of the camera's images, which goes before camera_info's.

        Raises:
            CalibrationError: if camera_info makes no sense or a transform is missing; the same
                sweep may be looked at again.
        """
        rectified = is_rectified(self._parameters.rectified, self._image_topic(), camera_info)
        camera = CameraModel.from_camera_info(camera_info, rectified)
        frame_id = frame_id or camera.frame_id
        T_camera_lidar = self._transforms.camera_from_lidar(frame_id, sweep.header.frame_id)
        self._seen += 1
        try:
            cloud = self._parameters.cloud(sweep)
            times = view_times(cloud, camera, T_camera_lidar)
        except CloudError:
            times = None
        if times is not None:
            self.value_s = -times[1]
        elif self._seen >= _SWEEPS:
            self.value_s = 0.0
