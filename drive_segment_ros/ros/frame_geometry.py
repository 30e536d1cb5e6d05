"""Where a sweep's points lie in a camera's image: calibration, the vehicle's motion, occlusion.

Shared by all that looks at a sweep through a camera, so that a frame recorded and a cloud painted
on the road agree on which point is which pixel.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError, CloudError, MotionError
from drive_segment_ros.perception.beam_sources import Beams
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.deskew import is_compensated
from drive_segment_ros.perception.motion import SweepMotion, Trajectory
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.projection import project_sweep, view_times
from drive_segment_ros.perception.transforms import TransformTree, inverse
from drive_segment_ros.ros.frame_parameters import GeometryParameters
from drive_segment_ros.ros.synchronizer import stamp_ns

_NS = 1e-9


class FrameGeometry:
    """One camera and one LiDAR on a vehicle that moves."""

    def __init__(
        self,
        params: GeometryParameters,
        transforms: TransformTree,
        trajectory: Trajectory | None = None,
        image_topic: Callable[[], str] = str,
    ) -> None:
        """Keep what all frames share.

        Args:
            params: how.
            transforms: static extrinsics of camera, LiDAR and base.
            trajectory: the vehicle's poses, filled by the caller; None if there is no odometry.
            image_topic: returns the resolved name, which may say that images are rectified.
        """
        self._params = params
        self._image_topic = image_topic
        self._transforms = transforms
        self._trajectory = trajectory
        self._camera: tuple[bytes, CameraModel] | None = None
        self._scaled: tuple[CameraModel, CameraModel] | None = None

    def cloud(self, message: Any) -> PointCloud:
        """Read a sensor_msgs/PointCloud2.

        Raises:
            CloudError: if it cannot be interpreted.
        """
        return self._params.cloud(message).packed()

    def camera(self, camera_info: Any, image: Any) -> CameraModel:
        """Return the camera at its own resolution; the same object while nothing changes.

        Args:
            camera_info: sensor_msgs/CameraInfo.
            image: an image of it, whose frame goes before camera_info's.

        Raises:
            CalibrationError: if the numbers make no sense.
        """
        frame_id = image.header.frame_id or camera_info.header.frame_id
        rectified = is_rectified(self._params.rectified, self._image_topic(), camera_info)
        key = repr(
            (
                frame_id,
                rectified,
                camera_info.width,
                camera_info.height,
                camera_info.distortion_model,
                *(np.asarray(getattr(camera_info, m)).tobytes() for m in 'kdrp'),
                camera_info.binning_x,
                camera_info.binning_y,
                str(camera_info.roi),
            )
        ).encode()
        if self._camera is None or self._camera[0] != key:
            full = CameraModel.from_camera_info(camera_info, rectified)
            self._camera = key, dataclasses.replace(full, frame_id=frame_id)
        return self._camera[1]

    def scaled(self, camera: CameraModel, width: int, height: int) -> CameraModel:
        """Return a camera at another resolution; the same object while nothing changes."""
        last = self._scaled
        if (
            last is None
            or last[0] is not camera
            or (last[1].width, last[1].height)
            != (
                width,
                height,
            )
        ):
            last = self._scaled = camera, camera.scaled(width, height)
        return last[1]

    def from_lidar(self, camera: CameraModel, cloud: PointCloud) -> NDArray[np.float64]:
        """Return (4, 4) T_camera_lidar.

        Raises:
            CalibrationError: if a frame_id is empty or no transforms join the two.
        """
        return self._transforms.camera_from_lidar(camera.frame_id, cloud.frame_id)

    def base_from(self, cloud: PointCloud) -> NDArray[np.float64] | None:
        """Return (4, 4) T_base_lidar, None where it is not known."""
        try:
            return self._transforms.lookup(self._params.base_frame, cloud.frame_id)
        except CalibrationError:
            return None

    def times_needed(self, image: Any, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, for which odometry lets motion be compensated fully.

        Returns:
            None if odometry would not be used: there is none, or no base frame.

        Raises:
            CalibrationError: if intrinsics make no sense or a transform is missing.
            CloudError: if the cloud cannot be interpreted.
        """
        sweep = self.cloud(cloud)
        camera = self.camera(camera_info, image)
        if self._trajectory is None or self.base_from(sweep) is None:
            return None
        times = view_times(sweep, camera, self.from_lidar(camera, sweep))
        return _interval(sweep.stamp_ns, stamp_ns(image), times)

    def motion(
        self,
        cloud: PointCloud,
        camera: CameraModel,
        stamp_ns: int,
        beams: Callable[[], Beams | None],
    ) -> tuple[SweepMotion | None, str]:
        """Return the LiDAR's motion from its points' times to the image's instant, and its kind.

        Points out of view are moved with the nearest time in view; they are not projected.

        Args:
            cloud: the sweep.
            camera: any resolution.
            stamp_ns: of the image.
            beams: asked where the points themselves must tell whether they have been moved.

        Returns:
            The kind is `per_point`, `per_sweep`, or `none` where the motion is not known.
        """
        T_base_lidar = self.base_from(cloud)
        if self._trajectory is None or T_base_lidar is None:
            return None, 'none'
        times = view_times(cloud, camera, self.from_lidar(camera, cloud))
        interval = _interval(cloud.stamp_ns, stamp_ns, times)
        # All poses are asked for first: while beams are sought, a bag that begins again may
        # replace them by those of another time.
        ends = self._poses(interval)
        ranges = {'per_sweep': (0.0, 0.0)}
        if times is not None:
            # Odometry that begins or ends within the sweep still tells how far it moved.
            ranges = {'per_point': (times[0], times[2]), **ranges}
        motions: dict[str, SweepMotion] = {}
        for kind, (start_s, end_s) in ranges.items():
            with contextlib.suppress(MotionError):
                motions[kind] = self._trajectory.sweep_motion(
                    cloud.stamp_ns, stamp_ns, T_base_lidar, start_s, end_s
                )
        duration = (interval[1] - interval[0]) * _NS
        if 'per_point' in motions and self._compensated(
            cloud, T_base_lidar, ends, duration, beams
        ):
            del motions['per_point']
        kind = next(iter(motions), 'none')
        return motions.get(kind), kind

    def project(
        self, cloud: PointCloud, camera: CameraModel, motion: SweepMotion | None
    ) -> ProjectedPoints:
        """Return the points the camera sees, at the image's instant.

        Raises:
            CalibrationError: if a transform is missing.
            CloudError: if none of the points is in the image.
        """
        projected = project_sweep(cloud, camera, self.from_lidar(camera, cloud), motion)
        if len(projected) == 0:
            raise CloudError(
                f'no point of the sweep in frame {cloud.frame_id!r} falls into the image of '
                f'{camera.frame_id!r}; check the extrinsics'
            )
        return projected.where(visible(projected, camera))

    def _poses(self, instants_ns: tuple[int, int]) -> NDArray[np.float64] | None:
        try:
            return None if self._trajectory is None else self._trajectory.poses([*instants_ns])
        except MotionError:
            return None

    def _compensated(
        self,
        cloud: PointCloud,
        T_base_lidar: NDArray[np.float64],
        T_odom_base: NDArray[np.float64] | None,
        duration: float,
        beams: Callable[[], Beams | None],
    ) -> bool:
        """Tell whether the points have been moved to one instant already.

        Args:
            cloud: the sweep.
            T_base_lidar: (4, 4) LiDAR in the base frame.
            T_odom_base: (2, 4, 4) the vehicle at begin and end, None where that is not known.
            duration: between the two, seconds.
            beams: finds the sweep's.
        """
        if self._params.point_motion != 'auto':
            return self._params.point_motion == 'compensated'
        if cloud.time is None or T_odom_base is None or duration <= 0.0:
            return False
        found = beams()
        if found is None:
            return False
        poses = T_odom_base @ T_base_lidar
        step = inverse(poses[0]) @ poses[1]
        turn = np.array(
            [step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]]
        )
        return is_compensated(
            cloud, found.ring, found.axis, step[:3, 3] / duration, 0.5 * turn / duration
        )


def check_shape(width: int, height: int, camera: CameraModel) -> None:
    """Make sure that an image, reduced or not, can be of a camera.

    Raises:
        CalibrationError: if its shape is another.
    """
    if abs(width * camera.height - height * camera.width) > 0.02 * width * camera.height:
        raise CalibrationError(
            f'an image of {camera.frame_id!r} has the shape of {width} x {height}, its '
            f'camera_info {camera.width} x {camera.height}; one belongs to another camera or mode'
        )


def _interval(
    sweep_stamp_ns: int, image_stamp_ns: int, times: tuple[float, float, float] | None
) -> tuple[int, int]:
    """Return the first and last instant for which the vehicle's pose is needed, ns."""
    instants = [image_stamp_ns, sweep_stamp_ns]
    if times is not None:
        instants += [sweep_stamp_ns + round(times[k] / _NS) for k in (0, 2)]
    return min(instants), max(instants)
