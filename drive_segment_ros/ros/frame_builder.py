"""An image, its camera_info and its sweep, made into a frame.

The live nodes and `drive-segment extract` both call this, so a frame recorded on the road and the
same frame extracted from a bag are the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.errors import CalibrationError, CloudError, MotionError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.densify import (
    DensifyParameters,
    Feet,
    densify,
    find_feet,
    support,
)
from drive_segment_ros.perception.deskew import is_compensated
from drive_segment_ros.perception.geometry import describe_proposals
from drive_segment_ros.perception.motion import SweepMotion, Trajectory
from drive_segment_ros.perception.projection import (
    ProjectedPoints,
    project_sweep,
    view_times,
    visible,
)
from drive_segment_ros.perception.proposals import (
    SKY_LABEL,
    ProposalParameters,
    SweepProposals,
    find_proposals,
)
from drive_segment_ros.perception.range_image import RangeImage
from drive_segment_ros.perception.sky import find_sky, highest_beam
from drive_segment_ros.perception.transforms import TransformTree, inverse, level_rotation
from drive_segment_ros.ros.images import decode_image, encoded_image

_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class FrameParameters:
    """Everything that decides what a frame looks like."""

    rectified: bool = parameter(
        False, 'images are rectified, so camera_info.p applies and no distortion'
    )
    base_frame: str = parameter('base_link', 'the vehicle frame: z points up, odometry moves it')
    time_field: str = parameter(
        'auto', 'point field with the time of each point; empty ignores point times'
    )
    point_motion: str = parameter(
        'auto',
        'raw: each point is where the sensor measured it; compensated: the driver has moved all '
        'to the stamp; auto tells by whether beams keep their elevation',
        choices=('auto', 'raw', 'compensated'),
    )
    proposals: ProposalParameters = dataclasses.field(default_factory=ProposalParameters)
    densify: DensifyParameters = dataclasses.field(default_factory=DensifyParameters)


@dataclasses.dataclass(frozen=True)
class _Source:
    """What a frame is made of, beside its image."""

    message: Any
    full_camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    motion: SweepMotion | None
    T_odom_base: NDArray[np.float64] | None
    R_level_lidar: NDArray[np.float64]
    params: FrameParameters


class BuiltFrame:
    """A frame and what led to it; what needs the image is computed when first asked for.

    Attributes:
        header: the image message's header.
        camera: the camera at working resolution.
        cloud: the sweep.
        sweep: its proposals, in 3D.
        projected: the sweep's points that the camera sees, at the image's instant.
        label: (M,) int32, the proposals of `projected`.
        motion: `per_point`, `per_sweep`, or `none` where the vehicle's motion was not known.
    """

    def __init__(
        self,
        source: _Source,
        camera: CameraModel,
        cloud: PointCloud,
        sweep: SweepProposals,
        projected: ProjectedPoints,
        motion: str,
    ) -> None:
        """Take what `FrameBuilder.build` found; not to be called by others."""
        self.header = source.message.header
        self.camera = camera
        self.cloud = cloud
        self.sweep = sweep
        self.projected = projected
        self.label = sweep.label[projected.index]
        self.motion = motion
        self._source = source

    @functools.cached_property
    def image(self) -> NDArray[np.uint8]:
        """The image at working resolution, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: if it cannot be decoded.
            CalibrationError: if its shape is not camera_info's.
        """
        return _working_image(self._source.message, self._source.full_camera, self.camera)

    @functools.cached_property
    def label_image(self) -> NDArray[np.int32]:
        """The sweep's label of each pixel at working resolution, (H, W) int32, 0 where unknown.

        Raises:
            ImageError, CalibrationError: as `image`.
        """
        params = self._source.params
        feet = find_feet(self.sweep, params.densify)
        u, v, label = support(self.sweep, self.projected, feet, self._feet_in_image(feet))
        sky = self._sky_in_image() if params.proposals.sky else None
        if sky is not None:
            u, v = np.concatenate([u, sky.u]), np.concatenate([v, sky.v])
            label = np.concatenate([label, np.full(len(sky), SKY_LABEL, np.int32)])
        return densify(self.image, u, v, label, params.densify, self._highest_row())

    @functools.cached_property
    def frame(self) -> Frame:
        """The frame as it goes to disk, its proposals numbered from 1.

        Raises:
            ImageError, CalibrationError: as `image`.
        """
        used = np.zeros(self.sweep.count, np.bool_)
        used[self.label_image.reshape(-1)] = True
        used[0] = False
        labels = np.flatnonzero(used).astype(np.int32)
        number = np.zeros(self.sweep.count, np.uint16)
        number[labels] = np.arange(1, len(labels) + 1)
        points = np.bincount(self.label, minlength=self.sweep.count)
        content, suffix = encoded_image(self._source.message)
        geometry = describe_proposals(self.cloud, self.sweep, labels, self._source.R_level_lidar)
        return Frame(
            stamp_ns=_stamp_ns(self.header),
            image=content,
            image_suffix=suffix,
            segment=number[self.label_image],
            proposals={
                'id': number[labels],
                'kind': self.sweep.kind()[labels],
                'points': points[labels].astype(np.int32),
                **geometry,
            },
            record=self._record(),
        )

    def _feet_in_image(self, feet: Feet) -> ProjectedPoints:
        """Project the objects' feet, without those that something nearer hides."""
        time = None
        if self.cloud.time is not None and self.sweep.image is not None:
            time = _cell_times(self.cloud.time, self.sweep.image, feet.cell)
        projected = self._project(feet.xyz, time)
        # Feet are hidden by what hides points, so both are judged together.
        seen = visible(_joined(self.projected, projected), self.camera)
        return _chosen(projected, seen[len(self.projected) :])

    def _highest_row(self) -> NDArray[np.float32] | None:
        """Return the row in which the highest beam crosses each column, 0 where it does not."""
        if self.sweep.image is None:
            return None
        beam = self._project(highest_beam(self.sweep.image), None)
        row = np.zeros(self.camera.width, np.float32)
        if len(beam) > 1:
            order = np.argsort(beam.u)
            columns = np.arange(self.camera.width)
            row = np.interp(columns, beam.u[order], beam.v[order]).astype(np.float32)
        return row

    def _sky_in_image(self) -> ProjectedPoints | None:
        if self.sweep.image is None:
            return None
        return self._project(*find_sky(self.cloud, self.sweep.image, self.sweep.up))

    def _project(
        self, xyz: NDArray[np.float32], time: NDArray[np.float32] | None
    ) -> ProjectedPoints:
        x, y, z = np.ascontiguousarray(xyz.T)
        cloud = PointCloud(self.cloud.stamp_ns, self.cloud.frame_id, x, y, z, time=time)
        return project_sweep(cloud, self.camera, self._source.T_camera_lidar, self._source.motion)

    def _record(self) -> dict[str, Any]:
        stamp_ns = _stamp_ns(self.header)
        record: dict[str, Any] = {
            'sweep_stamp_ns': self.cloud.stamp_ns,
            'offset_s': (self.cloud.stamp_ns - stamp_ns) * _NS,
            'motion': self.motion,
            'points': len(self.projected),
            'points_dropped': self.sweep.dropped,
        }
        if self._source.T_odom_base is not None:
            record['T_odom_base'] = self._source.T_odom_base.tolist()
        return record


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
        projected = _chosen(projected, visible(projected, camera))
        T_odom_base = None
        if motion is not None and self._trajectory is not None:
            T_odom_base = self._trajectory.pose(stamp_ns)
        source = _Source(
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


def _cell_times(
    time: NDArray[np.floating], image: RangeImage, cells: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the time of a point in each of the given cells of the range image."""
    # The last, unused place takes the points without a cell (-1).
    times = np.zeros(image.range.size + 1, np.float32)
    times[image.cell] = time
    return times[cells]


def _joined(first: ProjectedPoints, second: ProjectedPoints) -> ProjectedPoints:
    return ProjectedPoints(
        *(
            np.concatenate([getattr(first, f.name), getattr(second, f.name)])
            for f in dataclasses.fields(ProjectedPoints)
        )
    )


def _chosen(points: ProjectedPoints, mask: NDArray[np.bool_]) -> ProjectedPoints:
    return ProjectedPoints(
        *(getattr(points, f.name)[mask] for f in dataclasses.fields(ProjectedPoints))
    )


def _working_image(message: Any, full: CameraModel, camera: CameraModel) -> NDArray[np.uint8]:
    """Decode an image to working resolution, by way of the nearest larger size a JPEG offers."""
    reduce = max(r for r in (1, 2, 4, 8) if full.width // r >= camera.width or r == 1)
    picture = decode_image(message, reduce)
    height, width = picture.shape[:2]
    if abs(width * camera.height - height * camera.width) > 0.02 * width * camera.height:
        raise CalibrationError(
            f'the image of {camera.frame_id!r} is about {width * reduce} x {height * reduce}, its '
            f'camera_info {full.width} x {full.height}; one belongs to another camera or mode'
        )
    if (width, height) == (camera.width, camera.height):
        return picture
    resized = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
