"""An image, its camera_info and its sweep, made into a frame.

The live nodes and `drive-segment extract` both call this, so a frame recorded on the road and the
same frame extracted from a bag are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.built_frame import BuiltFrame, FrameSource
from drive_segment_ros.ros.frame_geometry import FrameGeometry
from drive_segment_ros.ros.frame_parameters import FrameParameters


class FrameBuilder:
    """Builds the frames of one camera."""

    def __init__(
        self,
        params: FrameParameters,
        transforms: TransformTree,
        trajectory: Trajectory | None = None,
        image_topic: Callable[[], str] = str,
    ) -> None:
        """Keep what all frames share.

        Args:
            params: how.
            transforms: static extrinsics of camera, LiDAR and base.
            trajectory: the vehicle's poses, filled by the caller; None if there is no odometry.
            image_topic: returns the resolved name, which names the camera and may say that images
                are rectified.
        """
        self._params = params
        self._image_topic = image_topic
        self._geometry = FrameGeometry(params, transforms, trajectory, image_topic)
        self._trajectory = trajectory

    def times_needed(self, image: Any, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, of odometry that `build` can use; see `FrameGeometry`."""
        return self._geometry.times_needed(image, camera_info, cloud)

    def build(self, image: Any, camera_info: Any, cloud: Any) -> BuiltFrame:
        """Begin a frame of an image and its sweep; see `BuiltFrame` for what is computed when.

        Args:
            image: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.
            camera_info: sensor_msgs/CameraInfo of the same camera.
            cloud: sensor_msgs/PointCloud2.

        Raises:
            CalibrationError: if intrinsics make no sense.
        """
        camera = self._geometry.camera(camera_info, image)
        source = FrameSource(
            image,
            self._image_topic(),
            cloud,
            camera,
            self._params,
            self._geometry,
            self._trajectory,
        )
        return BuiltFrame(source)

    def warm_up(self) -> None:
        """Compile or load every compiled function, so that the first frame is not late."""
        from drive_segment_ros.ros.warm_up import example_messages, example_vehicle

        image, info, cloud = example_messages()
        builder = FrameBuilder(self._params, *example_vehicle(self._params.base_frame))
        builder.times_needed(image, info, cloud)
        builder.build(image, info, cloud).frame.encoded()
