"""A frame on its way: each step from its messages to its files is taken when first asked for."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.frame import Frame, SweepRecord
from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM, Beams, spinning_beams
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.coverage import UNSCANNED_SPACING, unscanned_points
from drive_segment_ros.perception.densify import Feet, densify, find_feet, support
from drive_segment_ros.perception.geometry import describe_proposals
from drive_segment_ros.perception.masks import around, at_points
from drive_segment_ros.perception.motion import SweepMotion, Trajectory
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.projection import project_sweep
from drive_segment_ros.perception.proposals import (
    RAISED_LABEL,
    SKY_LABEL,
    SweepProposals,
    find_proposals,
)
from drive_segment_ros.perception.range_image import RangeImage
from drive_segment_ros.perception.sky import find_sky, highest_beam, sky_spacing
from drive_segment_ros.perception.sky_appearance import looks_like_sky
from drive_segment_ros.perception.transforms import level_rotation
from drive_segment_ros.ros.frame_geometry import FrameGeometry, check_shape
from drive_segment_ros.ros.frame_parameters import FrameParameters
from drive_segment_ros.ros.image_size import image_size, reduction
from drive_segment_ros.ros.images import decode_image, encoded_image
from drive_segment_ros.ros.synchronizer import stamp_ns

_NS = 1e-9
# From a point in a gap to the returns around it, in spacings of such points: they begin three
# columns and two rows from a return. Within that, 4 was chosen with the truth of one drive in
# sight, so its scores there prove nothing.
_GAP_REACH = 4.0


@dataclasses.dataclass(frozen=True)
class FrameSource:
    """What a frame is made of: its messages, and what all frames of a camera share."""

    image: Any
    image_topic: str
    cloud: Any
    full_camera: CameraModel
    params: FrameParameters
    geometry: FrameGeometry
    trajectory: Trajectory | None


class BuiltFrame:
    """A frame of an image and its sweep; what is costly is computed when first asked for.

    So a frame that nobody wants after a look at its stamps or its image costs no more than that.

    Attributes:
        header: the image message's header.
        stamp_ns: its stamp, nanoseconds.
        offset_s: the sweep's stamp after the image's, seconds.
        camera: the camera at working resolution.
    """

    def __init__(self, source: FrameSource) -> None:
        """Take the messages; not to be called by others than `FrameBuilder.build`."""
        full = source.full_camera
        width = min(source.params.densify.width, full.width)
        height = max(1, round(full.height * width / full.width))
        self.header = source.image.header
        self.stamp_ns = stamp_ns(source.image)
        self.offset_s = (stamp_ns(source.cloud) - self.stamp_ns) * _NS
        self.camera = source.geometry.scaled(full, width, height)
        self._source = source

    @functools.cached_property
    def cloud(self) -> PointCloud:
        """The sweep.

        Raises:
            CloudError: if it cannot be interpreted.
        """
        return self._source.geometry.cloud(self._source.cloud)

    @functools.cached_property
    def sweep(self) -> SweepProposals:
        """The sweep's proposals, in 3D.

        Raises:
            CloudError: if it has no usable point.
        """
        T_base_lidar = self._source.geometry.base_from(self.cloud)
        up = None if T_base_lidar is None else T_base_lidar[2, :3].copy()
        return find_proposals(self.cloud, self._source.params.proposals, up, lambda: self._beams)

    @property
    def segments_from(self) -> tuple[str, bool] | None:
        """How its segments were made, in words, and whether for want of beams.

        None while nobody has asked for them.
        """
        if 'sweep' not in vars(self):
            return None
        return SEGMENTS_FROM[self.sweep.source], self.sweep.source == 'none'

    @property
    def sweep_facts(self) -> dict[str, Any] | None:
        """What `coverage_facts` says of the sweep; None while nobody has asked for `sweep`."""
        sweep = vars(self).get('sweep')
        return None if sweep is None else sweep.facts()

    @property
    def motion(self) -> str:
        """`per_point`, `per_sweep`, or `none` where the vehicle's motion was not known.

        Raises:
            CalibrationError: if a transform is missing.
            CloudError: as `cloud`.
        """
        return self._motion[1]

    @functools.cached_property
    def projected(self) -> ProjectedPoints:
        """The sweep's points that the camera sees, at the image's instant.

        Raises:
            CalibrationError: if a transform is missing.
            CloudError: as `sweep`, and if none of its points is in the image.
        """
        return self._source.geometry.project(self.cloud, self.camera, self._motion[0])

    @functools.cached_property
    def label(self) -> NDArray[np.int32]:
        """The proposals of `projected`, (M,) int32.

        Raises:
            CalibrationError, CloudError: as `projected`.
        """
        return self.sweep.label[self.projected.index]

    @functools.cached_property
    def image(self) -> NDArray[np.uint8]:
        """The image at working resolution, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: if it cannot be decoded.
            CalibrationError: if its shape is not camera_info's.
        """
        return _working_image(self._source, self.camera)

    @functools.cached_property
    def label_image(self) -> NDArray[np.int32]:
        """The sweep's label of each pixel at working resolution, (H, W) int32, 0 where unknown.

        Raises:
            ImageError, CalibrationError, CloudError: as `image` and `projected`.
        """
        segment = self._densified()
        unscanned = self._unscanned()
        if unscanned is not None:
            segment[unscanned] = 0
        return segment

    def _densified(self) -> NDArray[np.int32]:
        params = self._source.params
        feet = find_feet(self.sweep, params.densify)
        u, v, label = support(self.sweep, self.projected, feet, self._feet_in_image(feet))
        if not params.proposals.sky or self.sweep.image is None:
            return densify(self.image, u, v, label, params.densify, self._highest_row())
        clear = self._project(*find_sky(self.cloud, self.sweep.image, self.sweep.up))
        objects = label > SKY_LABEL
        spacing = float(self.camera.K[0, 0]) * sky_spacing(self.sweep.image)
        like_sky = looks_like_sky(
            self.image, (clear.u, clear.v), (u[objects], v[objects]), spacing
        )
        agree = at_points(like_sky, clear)
        sky, others = clear.where(agree), clear.where(~agree)
        gaps = around(others, like_sky.shape, _GAP_REACH * spacing) & ~like_sky
        u, v = np.concatenate([u, sky.u]), np.concatenate([v, sky.v])
        label = np.concatenate([label, np.full(len(sky), SKY_LABEL, np.int32)])
        segment = densify(self.image, u, v, label, params.densify, self._highest_row(), gaps)
        segment[(segment == SKY_LABEL) & ~like_sky] = 0
        return segment

    @functools.cached_property
    def frame(self) -> Frame:
        """The frame as it goes to disk, of the camera that its image's topic names.

        Raises:
            ImageError, CalibrationError, CloudError: as `image` and `projected`.
        """
        params, topic = self._source.params, self._source.image_topic
        content, suffix = encoded_image(
            self._source.image, bits=params.image_bits, max_pixels=params.max_pixels
        )
        return Frame(
            camera=camera_names([topic])[topic],
            stamp_ns=self.stamp_ns,
            image=content,
            image_suffix=suffix,
            segment=self.label_image.astype(np.uint16),
            sweep=SweepRecord(self.cloud.stamp_ns, self._proposals()),
            record=self._record(),
        )

    def _proposals(self) -> dict[str, NDArray[Any]]:
        """Return all proposals of the sweep, whether or not this camera sees them."""
        points = np.bincount(self.sweep.label, minlength=self.sweep.count)
        there = points > 0
        # Sky has no points, and which images show it is not the sweep's to say.
        there[SKY_LABEL] = self._source.params.proposals.sky and self.sweep.image is not None
        there[0] = False
        labels = np.flatnonzero(there).astype(np.int32)
        geometry = describe_proposals(self.cloud, self.sweep, labels, self._R_level_lidar())
        return {
            'id': labels.astype(np.uint16),
            'kind': self.sweep.kind()[labels],
            'raised': labels == RAISED_LABEL,
            'points': points[labels].astype(np.int32),
            **geometry,
        }

    @functools.cached_property
    def T_odom_base(self) -> NDArray[np.float64] | None:
        """(4, 4) pose of the vehicle at the image's instant; None where `motion` is not known."""
        motion = self._motion[0]
        return None if motion is None else motion.T_odom_base

    def calibration(self) -> DriveCalibration:
        """Return the camera as it is calibrated and where sensors are."""
        return DriveCalibration(self._source.full_camera, self._T_camera_lidar, self._T_base_lidar)

    @property
    def _T_camera_lidar(self) -> NDArray[np.float64]:
        return self._source.geometry.from_lidar(self._source.full_camera, self.cloud)

    @property
    def _T_base_lidar(self) -> NDArray[np.float64] | None:
        return self._source.geometry.base_from(self.cloud)

    @functools.cached_property
    def _beams(self) -> Beams | None:
        return spinning_beams(self.cloud)

    @functools.cached_property
    def _motion(self) -> tuple[SweepMotion | None, str]:
        source = self._source
        return source.geometry.motion(
            self.cloud, source.full_camera, self.stamp_ns, lambda: self._beams
        )

    def _R_level_lidar(self) -> NDArray[np.float64]:
        T_base_lidar = self._T_base_lidar
        return level_rotation(self.sweep.up) if T_base_lidar is None else T_base_lidar[:3, :3]

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

    def _unscanned(self) -> NDArray[np.bool_] | None:
        """Return the pixels that the sweep did not scan, (H, W); None where it did all."""
        image, coverage = self.sweep.image, self.sweep.coverage
        if image is None or coverage is None:
            return None
        seen = self._project(unscanned_points(image, coverage), None)
        mask = np.zeros((self.camera.height, self.camera.width), np.uint8)
        row = np.clip(np.rint(seen.v).astype(int), 0, self.camera.height - 1)
        column = np.clip(np.rint(seen.u).astype(int), 0, self.camera.width - 1)
        mask[row, column] = 1
        # Twice as wide, as angles are towards the edges of an image.
        spacing = math.ceil(2.0 * float(self.camera.K[0, 0]) * UNSCANNED_SPACING) + 1
        return cv2.morphologyEx(
            mask, cv2.MORPH_CLOSE, np.ones((spacing, spacing), np.uint8)
        ).astype(np.bool_)

    def _project(
        self, xyz: NDArray[np.float32], time: NDArray[np.float32] | None
    ) -> ProjectedPoints:
        x, y, z = np.ascontiguousarray(xyz.T)
        cloud = PointCloud(self.cloud.stamp_ns, self.cloud.frame_id, x, y, z, time=time)
        return project_sweep(cloud, self.camera, self._T_camera_lidar, self._motion[0])

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            'offset_s': self.offset_s,
            'motion': self.motion,
            'points': len(self.projected),
            'points_dropped': self.sweep.dropped,
            **self.sweep.facts(),
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


def _working_image(source: FrameSource, camera: CameraModel) -> NDArray[np.uint8]:
    """Decode an image to working resolution, by way of the nearest larger size a JPEG offers."""
    message, params = source.image, source.params
    size = image_size(message)
    if size is not None and size[0] * size[1] <= params.max_pixels:
        # Before it is decoded, which costs by the size that its header claims.
        check_shape(size[1], size[0], source.full_camera)
    picture = decode_image(
        message,
        reduction(size, (camera.height, camera.width)),
        bits=params.image_bits,
        max_pixels=params.max_pixels,
    )
    height, width = picture.shape[:2]
    if (width, height) == (camera.width, camera.height):
        return picture
    resized = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
