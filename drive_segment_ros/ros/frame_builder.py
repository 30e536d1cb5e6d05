"""An image, its camera_info and its sweep, made into a frame.

The live nodes and `drive-segment extract` both call this, so a frame recorded on the road and the
same frame extracted from a bag are the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError, CloudError, MotionError
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.deskew import is_compensated
from drive_segment_ros.perception.motion import SweepMotion, Trajectory
from drive_segment_ros.perception.projection import project_sweep, view_times, visible
from drive_segment_ros.perception.proposals import SweepProposals, find_proposals
from drive_segment_ros.perception.transforms import TransformTree, inverse, level_rotation
from drive_segment_ros.ros.built_frame import BuiltFrame, FrameSource
from drive_segment_ros.ros.frame_parameters import FrameParameters

_NS = 1e-9


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
        self._transforms = transforms
        self._trajectory = trajectory
        self._cameras: dict[bytes, tuple[CameraModel, CameraModel]] = {}

    def times_needed(self, image: Any, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, for which odometry lets `build` compensate motion fully.

        Returns:
            None if odometry would not be used: there is none, or no base frame.

        Raises:
            CalibrationError, CloudError: as `build`.
        """
        sweep = cloud_from_message(cloud, self._params.time_field).packed()
        camera, _ = self._camera(camera_info, image)
        if self._trajectory is None or self._base_from(sweep.frame_id) is None:
            return None
        T_camera_lidar = self._transforms.lookup(camera.frame_id, sweep.frame_id)
        times = view_times(sweep, camera, T_camera_lidar)
        return _interval(sweep.stamp_ns, _stamp_ns(image.header), times)

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
        params = self._params
        points = cloud_from_message(cloud, params.time_field).packed()
        full, camera = self._camera(camera_info, image)
        T_camera_lidar = self._transforms.lookup(camera.frame_id, points.frame_id)
        T_base_lidar = self._base_from(points.frame_id)
        up = None if T_base_lidar is None else T_base_lidar[2, :3].copy()
        sweep = find_proposals(points, params.proposals, up)
        stamp_ns = _stamp_ns(image.header)
        motion, kind = self._motion(points, sweep, full, T_camera_lidar, T_base_lidar, stamp_ns)
        projected = project_sweep(points, camera, T_camera_lidar, motion)
        if len(projected) == 0:
            raise CloudError(
                f'no point of the sweep in frame {points.frame_id!r} falls into the image of '
                f'{camera.frame_id!r}; check the extrinsics'
            )
        projected = projected.where(visible(projected, camera))
        T_odom_base = None
        if motion is not None and self._trajectory is not None:
            T_odom_base = self._trajectory.pose(stamp_ns)
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
        from drive_segment_ros.ros.warm_up import example_messages

        image, info, cloud = example_messages()
        tree = TransformTree()
        tree.set(cloud.header.frame_id, info.header.frame_id, _LOOKING_FORWARD)
        tree.set(self._params.base_frame, cloud.header.frame_id, np.eye(4))
        trajectory = Trajectory()
        stamp_ns = _stamp_ns(image.header)
        for k, offset in enumerate((-1_000_000_000, 1_000_000_000)):
            trajectory.add(stamp_ns + offset, (10.0 * k, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        builder = FrameBuilder(self._params, tree, trajectory)
        builder.times_needed(image, info, cloud)
        builder.build(image, info, cloud).frame.encoded()

    def _camera(self, camera_info: Any, image: Any) -> tuple[CameraModel, CameraModel]:
        """Return the camera at its own and at working resolution; one of each per calibration."""
        frame_id = image.header.frame_id or camera_info.header.frame_id
        key = repr(
            (
                frame_id,
                camera_info.width,
                camera_info.height,
                camera_info.distortion_model,
                *(np.asarray(getattr(camera_info, m)).tobytes() for m in 'kdrp'),
                camera_info.binning_x,
                camera_info.binning_y,
                str(camera_info.roi),
            )
        ).encode()
        if key not in self._cameras:
            full = CameraModel.from_camera_info(camera_info, rectified=self._params.rectified)
            full = dataclasses.replace(full, frame_id=frame_id)
            width = min(self._params.densify.width, full.width)
            height = max(1, round(full.height * width / full.width))
            # A driver that changes its camera_info all the time must not fill the memory.
            self._cameras = {key: (full, full.scaled(width, height))}
        return self._cameras[key]

    def _base_from(self, lidar_frame: str) -> NDArray[np.float64] | None:
        try:
            return self._transforms.lookup(self._params.base_frame, lidar_frame)
        except CalibrationError:
            return None

    def _motion(
        self,
        cloud: PointCloud,
        sweep: SweepProposals,
        camera: CameraModel,
        T_camera_lidar: NDArray[np.float64],
        T_base_lidar: NDArray[np.float64] | None,
        stamp_ns: int,
    ) -> tuple[SweepMotion | None, str]:
        """Return the LiDAR's motion from its points' times to the image's instant, and its kind.

        Points out of view are moved with the nearest time in view; they are not projected.
        """
        if self._trajectory is None or T_base_lidar is None:
            return None, 'none'
        times = view_times(cloud, camera, T_camera_lidar)
        interval = _interval(cloud.stamp_ns, stamp_ns, times)
        attempts = [('per_sweep', (0.0, 0.0))]
        if times is not None and not self._compensated(cloud, sweep, T_base_lidar, interval):
            attempts.insert(0, ('per_point', (times[0], times[2])))
        for kind, (start_s, end_s) in attempts:
            # Odometry that begins or ends within the sweep still tells how far it moved.
            with contextlib.suppress(MotionError):
                motion = self._trajectory.sweep_motion(
                    cloud.stamp_ns, stamp_ns, T_base_lidar, start_s, end_s
                )
                return motion, kind
        return None, 'none'

    def _compensated(
        self,
        cloud: PointCloud,
        sweep: SweepProposals,
        T_base_lidar: NDArray[np.float64],
        interval: tuple[int, int],
    ) -> bool:
        if self._params.point_motion != 'auto':
            return self._params.point_motion == 'compensated'
        if cloud.time is None or sweep.image is None or self._trajectory is None:
            return False
        duration = (interval[1] - interval[0]) * _NS
        if duration <= 0.0 or not self._trajectory.covers(*interval):
            return False
        poses = self._trajectory.poses(list(interval)) @ T_base_lidar
        step = inverse(poses[0]) @ poses[1]
        turn = np.array(
            [step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]]
        )
        ring = sweep.image.cell // sweep.image.range.shape[1]
        return is_compensated(
            cloud, ring, sweep.image.axis, step[:3, 3] / duration, 0.5 * turn / duration
        )


# A camera that looks along the LiDAR's x axis: optical z forward, x right, y down.
_LOOKING_FORWARD = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


def _stamp_ns(header: Any) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def _interval(
    sweep_stamp_ns: int, image_stamp_ns: int, times: tuple[float, float, float] | None
) -> tuple[int, int]:
    """Return the first and last instant for which the vehicle's pose is needed, ns."""
    instants = [image_stamp_ns, sweep_stamp_ns]
    if times is not None:
        instants += [sweep_stamp_ns + round(times[k] / _NS) for k in (0, 2)]
    return min(instants), max(instants)
