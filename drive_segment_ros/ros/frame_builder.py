"""An image, its camera_info and its sweep, made into a frame.

The live nodes and `drive-segment extract` both call this, so a frame recorded on the road and the
same frame extracted from a bag are the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.proposals import SweepProposals, find_proposals
from drive_segment_ros.perception.transforms import TransformTree, level_rotation
from drive_segment_ros.ros.built_frame import BuiltFrame, FrameSource
from drive_segment_ros.ros.frame_geometry import FrameGeometry
from drive_segment_ros.ros.frame_parameters import FrameParameters
from drive_segment_ros.ros.synchronizer import stamp_ns


class FrameBuilder:
    """Builds the frames of one camera."""

    def __init__(
        self,
        params: FrameParameters,
        transforms: TransformTree,
        trajectory: Trajectory | None = None,
    ) -> None:
        """Keep what all frames share.

        Args:
            params: how.
            transforms: static extrinsics of camera, LiDAR and base.
            trajectory: the vehicle's poses, filled by the caller; None if there is no odometry.
        """
        self._params = params
        self._geometry = FrameGeometry(params, transforms, trajectory)
        self._trajectory = trajectory

    def times_needed(self, image: Any, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, of odometry that `build` can use; see `FrameGeometry`."""
        return self._geometry.times_needed(image, camera_info, cloud)

    def build(self, image: Any, camera_info: Any, cloud: Any) -> BuiltFrame:
        """Make a frame of an image and its sweep.

        Args:
            image: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.
            camera_info: sensor_msgs/CameraInfo of the same camera.
            cloud: sensor_msgs/PointCloud2.

        Raises:
            CalibrationError: if intrinsics make no sense or a transform is missing.
            CloudError: if the cloud has no usable point, or none in the image.
            ImageError: by the result's `image` and `frame`, if the image cannot be decoded.
        """
        params, geometry = self._params, self._geometry
        points = geometry.cloud(cloud)
        full = geometry.camera(camera_info, image)
        width = min(params.densify.width, full.width)
        camera = geometry.scaled(full, width, max(1, round(full.height * width / full.width)))
        T_camera_lidar = geometry.from_lidar(full, points)
        T_base_lidar = geometry.base_from(points)
        up = None if T_base_lidar is None else T_base_lidar[2, :3].copy()
        sweep = find_proposals(points, params.proposals, up)
        instant_ns = stamp_ns(image)
        motion, kind = geometry.motion(points, full, instant_ns, lambda: _beams(sweep))
        projected = geometry.project(points, camera, motion)
        T_odom_base = None
        if motion is not None and self._trajectory is not None:
            T_odom_base = self._trajectory.pose(instant_ns)
        source = FrameSource(
            message=image,
            full_camera=full,
            T_camera_lidar=T_camera_lidar,
            motion=motion,
            T_odom_base=T_odom_base,
            R_level_lidar=level_rotation(sweep.up)
            if T_base_lidar is None
            else T_base_lidar[:3, :3],
            params=params,
        )
        return BuiltFrame(source, camera, points, sweep, projected, kind)

    def warm_up(self) -> None:
        """Compile or load every compiled function, so that the first frame is not late."""
        from drive_segment_ros.ros.warm_up import example_messages, example_vehicle

        image, info, cloud = example_messages()
        builder = FrameBuilder(self._params, *example_vehicle(self._params.base_frame))
        builder.times_needed(image, info, cloud)
        builder.build(image, info, cloud).frame.encoded()


def _beams(sweep: SweepProposals) -> tuple[NDArray[np.integer], int] | None:
    """Return the range image's row of each point and the spin axis, None without beams."""
    if sweep.image is None:
        return None
    return sweep.image.cell // sweep.image.range.shape[1], sweep.image.axis
