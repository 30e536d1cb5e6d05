"""A frame on its way: what was found in 3D, and in the image once somebody asks for it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.densify import Feet, densify, find_feet, support
from drive_segment_ros.perception.geometry import describe_proposals
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.projection import ProjectedPoints, project_sweep, visible
from drive_segment_ros.perception.proposals import SKY_LABEL, SweepProposals
from drive_segment_ros.perception.range_image import RangeImage
from drive_segment_ros.perception.sky import find_sky, highest_beam
from drive_segment_ros.ros.frame_geometry import check_shape
from drive_segment_ros.ros.frame_parameters import FrameParameters
from drive_segment_ros.ros.images import decode_image, encoded_image
from drive_segment_ros.ros.synchronizer import stamp_ns

_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class FrameSource:
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
        stamp_ns: its stamp, nanoseconds.
        camera: the camera at working resolution.
        cloud: the sweep.
        sweep: its proposals, in 3D.
        projected: the sweep's points that the camera sees, at the image's instant.
        label: (M,) int32, the proposals of `projected`.
        motion: `per_point`, `per_sweep`, or `none` where the vehicle's motion was not known.
    """

    def __init__(
        self,
        source: FrameSource,
        camera: CameraModel,
        cloud: PointCloud,
        sweep: SweepProposals,
        projected: ProjectedPoints,
        motion: str,
    ) -> None:
        """Take what `FrameBuilder.build` found; not to be called by others."""
        self.header = source.message.header
        self.stamp_ns = stamp_ns(source.message)
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
            stamp_ns=self.stamp_ns,
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

    @property
    def offset_s(self) -> float:
        """The sweep's stamp after the image's, seconds."""
        return (self.cloud.stamp_ns - self.stamp_ns) * _NS

    @property
    def T_odom_base(self) -> NDArray[np.float64] | None:
        """(4, 4) pose of the vehicle at the image's instant; None where it is not known."""
        return self._source.T_odom_base

    def calibration(self) -> dict[str, Any]:
        """Return the camera as it is calibrated and its place, as `drive.json` has them."""
        return {
            'camera': self._source.full_camera.to_dict(),
            'T_camera_lidar': self._source.T_camera_lidar.tolist(),
        }

    def _feet_in_image(self, feet: Feet) -> ProjectedPoints:
        """Project the objects' feet, without those that something nearer hides."""
        time = None
        if self.cloud.time is not None and self.sweep.image is not None:
            time = _cell_times(self.cloud.time, self.sweep.image, feet.cell)
        projected = self._project(feet.xyz, time)
        # Feet are hidden by what hides points, so both are judged together.
        seen = visible(self.projected.joined(projected), self.camera)
        return projected.where(seen[len(self.projected) :])

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
        record: dict[str, Any] = {
            'sweep_stamp_ns': self.cloud.stamp_ns,
            'offset_s': self.offset_s,
            'motion': self.motion,
            'points': len(self.projected),
            'points_dropped': self.sweep.dropped,
        }
        if self.T_odom_base is not None:
            record['T_odom_base'] = self.T_odom_base.tolist()
        return record


def _cell_times(
    time: NDArray[np.floating], image: RangeImage, cells: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the time of a point in each of the given cells of the range image."""
    # The last, unused place takes the points without a cell (-1).
    times = np.zeros(image.range.size + 1, np.float32)
    times[image.cell] = time
    return times[cells]


def _working_image(message: Any, full: CameraModel, camera: CameraModel) -> NDArray[np.uint8]:
    """Decode an image to working resolution, by way of the nearest larger size a JPEG offers."""
    reduce = max(r for r in (1, 2, 4, 8) if full.width // r >= camera.width or r == 1)
    picture = decode_image(message, reduce)
    height, width = picture.shape[:2]
    check_shape(width, height, full)
    if (width, height) == (camera.width, camera.height):
        return picture
    resized = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
