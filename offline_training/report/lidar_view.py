"""A sweep's points in its image, coloured by distance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.reader import Drive, FrameRecord
from drive_segment_ros.errors import BagError, MotionError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.motion import SweepMotion, Trajectory
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.overlay import draw_points
from drive_segment_ros.perception.projection import project_sweep, view_times
from drive_segment_ros.perception.resizing import resize_image
from drive_segment_ros.ros.bags import BagReader, peek_stamp_ns
from drive_segment_ros.ros.joined_bags import Bags, open_drive
from offline_training.bags import sensors

# Red is near and blue is far, evenly by the logarithm of the distance.
NEAREST_M, FARTHEST_M = 3.0, 80.0


def lidar_views(
    bags: Bags, drive: Drive, frames: Sequence[FrameRecord], width: int
) -> dict[Path, NDArray[np.uint8]]:
    """Draw each frame's sweep into its image, motion-compensated as in `extract`.

    Args:
        bags: of the drive; if there are several, all its parts.
        drive: the dataset's.
        frames: of this drive, of any of its cameras.
        width: of the pictures, px.

    Returns:
        BGR pictures by the image's path; a frame whose sweep the bag lacks has none.

    Raises:
        BagError: if the bag cannot be read.
    """
    params = from_flat(FrameParameters, drive.info['parameters'])
    by_sweep: defaultdict[int, list[FrameRecord]] = defaultdict(list)
    for frame in frames:
        by_sweep[frame.sweep_stamp_ns].append(frame)
    cameras = {frame.camera: DriveCalibration.of(drive, frame.camera) for frame in frames}
    movers = {name: _Mover(drive.cameras[name], cameras[name].T_base_lidar) for name in cameras}
    pictures = {}
    with open_drive(bags) as reader:
        for cloud in _sweeps(reader, drive.info['lidar']['topic'], set(by_sweep), params):
            for frame in by_sweep[cloud.stamp_ns]:
                calibration = cameras[frame.camera]
                camera, T_camera_lidar = calibration.camera, calibration.T_camera_lidar
                camera = camera.scaled(width, round(camera.height * width / camera.width))
                motion = movers[frame.camera].motion(frame, cloud, camera, T_camera_lidar)
                pictures[frame.image_path] = _drawn(frame, cloud, camera, T_camera_lidar, motion)
    return pictures


def _drawn(
    frame: FrameRecord,
    cloud: PointCloud,
    camera: CameraModel,
    T_camera_lidar: NDArray[np.float64],
    motion: SweepMotion | None,
) -> NDArray[np.uint8]:
    """Draw a sweep's points into an image, at the camera's size."""
    seen = project_sweep(cloud, camera, T_camera_lidar, motion)
    shown = visible(seen, camera)
    picture = resize_image(frame.image(), camera.height, camera.width).copy()
    # Far points first, so that near ones cover them.
    order = np.argsort(-seen.depth[shown])
    u, v, depth = (array[shown][order] for array in (seen.u, seen.v, seen.depth))
    draw_points(picture, u, v, distance_colours(depth))
    return picture


def distance_colours(depth: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a BGR colour for each distance in metres, (M, 3) uint8."""
    clipped = np.clip(depth, NEAREST_M, FARTHEST_M)
    nearness = np.log(FARTHEST_M / clipped) / np.log(FARTHEST_M / NEAREST_M)
    levels = np.rint(255.0 * nearness).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0], np.uint8)


class _Mover:
    """The vehicle's motion during sweeps, from the poses recorded with the frames."""

    def __init__(
        self, frames: Sequence[FrameRecord], T_base_lidar: NDArray[np.float64] | None
    ) -> None:
        self._T_base_lidar = T_base_lidar
        # Keep the poses of the whole drive.
        self._trajectory = Trajectory(max_age_s=1e6)
        for frame in frames:
            pose = frame.record.get('T_odom_base')
            if pose is not None:
                T = np.array(pose)
                turn = Rotation.from_matrix(T[:3, :3]).as_quat()
                self._trajectory.add(frame.stamp_ns, T[:3, 3], turn)

    def motion(
        self,
        frame: FrameRecord,
        cloud: PointCloud,
        camera: CameraModel,
        T_camera_lidar: NDArray[np.float64],
    ) -> SweepMotion | None:
        """Return the motion to compensate as in `extract`; None if it is not known."""
        times = view_times(cloud, camera, T_camera_lidar)
        if self._T_base_lidar is None or frame.record.get('motion', 'none') == 'none':
            return None
        per_point = frame.record['motion'] == 'per_point' and times is not None
        start_s, end_s = (times[0], times[2]) if per_point and times else (0.0, 0.0)
        try:
            return self._trajectory.sweep_motion(
                cloud.stamp_ns, frame.stamp_ns, self._T_base_lidar, start_s, end_s
            )
        except MotionError:
            return None  # the drive's first and last frames have no pose beyond them


def _sweeps(
    reader: BagReader, topic: str, stamps: set[int], params: FrameParameters
) -> Iterator[PointCloud]:
    """Yield the sweeps of the given stamps."""
    if topic not in reader.topics:
        raise BagError(f'{reader} has no topic {topic}; name the bag of this dataset')
    for message in reader.messages([topic]):
        if peek_stamp_ns(message.raw) in stamps:
            cloud = reader.deserialize(message.raw, sensors.POINT_CLOUD)
            yield params.cloud(cloud).packed()
