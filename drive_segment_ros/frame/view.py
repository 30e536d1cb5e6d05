"""One camera's view of one sweep: its points projected at the time of exposure."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError, MotionError
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.deskew import is_compensated
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.projection import project_sweep, view_times
from drive_segment_ros.perception.transforms import inverse

_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class View:
    """A sweep in a camera's coordinates.

    Attributes:
        cloud: the sweep's points.
        camera: at the resolution of the image.
        T_camera_lidar: (4, 4), at the image's instant.
        motion: of the LiDAR during the sweep; None if it is not known.
        moved: `per_point`, `per_sweep`, or `none` if the motion is not known.
    """

    cloud: PointCloud
    camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    motion: SweepMotion | None
    moved: str

    @staticmethod
    def of(pair: Pair, camera: CameraModel, params: GeometryParameters) -> View:
        """Return a pair's view.

        Args:
            pair: image and sweep.
            camera: the pair's, at the resolution wanted.
            params: of geometry, for motion compensation.

        Raises:
            CloudError: if the sweep cannot be read.
        """
        motion, moved = motion_to_image(pair, params.point_motion)
        return View(pair.sweep.cloud, camera, pair.T_camera_lidar, motion, moved)

    def points(self) -> ProjectedPoints:
        """Return the sweep's points in the image that nearer ones do not hide.

        Raises:
            CloudError: if none of them is in the image.
        """
        projected = project_sweep(self.cloud, self.camera, self.T_camera_lidar, self.motion)
        if len(projected) == 0:
            raise CloudError(
                f'no point of the sweep in frame {self.cloud.frame_id!r} is in the image of '
                f'{self.camera.frame_id!r}; check the extrinsics'
            )
        return projected.where(visible(projected, self.camera))

    def project(
        self, xyz: NDArray[np.float32], time: NDArray[np.float32] | None
    ) -> ProjectedPoints:
        """Project other points of the LiDAR's frame.

        Args:
            xyz: (M, 3) float32, metres.
            time: (M,) float32, seconds relative to the sweep's stamp; None: at the stamp.
        """
        x, y, z = np.ascontiguousarray(xyz.T)
        cloud = PointCloud(self.cloud.stamp_ns, self.cloud.frame_id, x, y, z, time=time)
        return project_sweep(cloud, self.camera, self.T_camera_lidar, self.motion)


def motion_to_image(pair: Pair, point_motion: str) -> tuple[SweepMotion | None, str]:
    """Return the LiDAR's motion from its points' times to the image's instant, and its kind.

    Points out of view are moved with the nearest time in view; they are not projected.

    Args:
        pair: image and sweep.
        point_motion: the parameter, whether a driver has moved the points to one instant.

    Returns:
        The kind is `per_point`, `per_sweep`, or `none` if the motion is not known.

    Raises:
        CloudError: if the sweep cannot be read.
    """
    sweep, T_base_lidar = pair.sweep, pair.T_base_lidar
    if T_base_lidar is None or not len(pair.trajectory):
        return None, 'none'
    times = view_times(sweep.cloud, pair.camera, pair.T_camera_lidar)
    ranges = {'per_sweep': (0.0, 0.0)}
    if times is not None:
        # Odometry that begins or ends within the sweep still gives the speed.
        ranges = {'per_point': (times[0], times[2]), **ranges}
    motions: dict[str, SweepMotion] = {}
    for kind, (start_s, end_s) in ranges.items():
        with contextlib.suppress(MotionError):
            motions[kind] = pair.trajectory.sweep_motion(
                sweep.stamp_ns, pair.instant_ns, T_base_lidar, start_s, end_s
            )
    if 'per_point' in motions and _is_compensated(pair, T_base_lidar, times, point_motion):
        del motions['per_point']
    kind = next(iter(motions), 'none')
    return motions.get(kind), kind


def _is_compensated(
    pair: Pair,
    T_base_lidar: NDArray[np.float64],
    times: tuple[float, float, float] | None,
    point_motion: str,
) -> bool:
    """Return whether the points are already motion-compensated."""
    if point_motion != 'auto':
        return point_motion == 'compensated'
    sweep = pair.sweep
    instants = [pair.instant_ns, sweep.stamp_ns]
    if times is not None:
        instants += [sweep.stamp_ns + round(times[k] / _NS) for k in (0, 2)]
    first, last = min(instants), max(instants)
    if sweep.cloud.time is None or first == last or sweep.beams is None:
        return False
    try:
        poses = pair.trajectory.poses([first, last]) @ T_base_lidar
    except MotionError:
        return False
    duration = (last - first) * _NS
    step = inverse(poses[0]) @ poses[1]
    turn = np.array([step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]])
    return is_compensated(
        sweep.cloud,
        sweep.beams.ring,
        sweep.beams.axis,
        step[:3, 3] / duration,
        0.5 * turn / duration,
    )
