"""A sweep's points in the colours of the mask of the image they are seen in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.beam_sources import spinning_beams
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.masks import at_points
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.frame_geometry import FrameGeometry, check_shape
from drive_segment_ros.ros.frame_parameters import GeometryParameters
from drive_segment_ros.ros.point_cloud2 import coloured_points, point_cloud2
from drive_segment_ros.ros.synchronizer import stamp_ns


@dataclasses.dataclass(frozen=True)
class Mask:
    """What a network says of an image.

    Attributes:
        header: the image message's.
        label: (h, w) uint8, 255 is unknown.
        confidence: (h, w) uint8, 255 is certain.
        shape: (height, width) of the picture it was made from, px.
    """

    header: Any
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    shape: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PaintedSweep:
    """The points of a sweep that a camera sees, with what its mask says of them.

    Attributes:
        cloud: the sweep.
        index: (M,) int32 into the cloud.
        label, confidence: (M,) uint8.
        motion: `per_point`, `per_sweep`, or `none` where the vehicle's motion was not known.
    """

    cloud: PointCloud
    index: NDArray[np.int32]
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    motion: str

    def message(self, table: NDArray[np.uint8]) -> Any:
        """Return a sensor_msgs/PointCloud2 of the points as measured, in the LiDAR's frame.

        Args:
            table: (256, 3) uint8 BGR, a colour for each label.
        """
        from std_msgs.msg import Header

        header = Header(frame_id=self.cloud.frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(self.cloud.stamp_ns, 1_000_000_000)
        x, y, z = (values[self.index] for values in (self.cloud.x, self.cloud.y, self.cloud.z))
        rgb = table[self.label][:, ::-1]
        points = coloured_points(x, y, z, rgb, label=self.label, confidence=self.confidence)
        return point_cloud2(points, header)


class CloudPainter:
    """Paints sweeps by the masks of one camera; `FramePipeline` takes it for its builder."""

    def __init__(
        self,
        params: GeometryParameters,
        transforms: TransformTree,
        trajectory: Trajectory | None = None,
        image_topic: Callable[[], str] = str,
    ) -> None:
        """See `FrameGeometry`."""
        self._params = params
        self._geometry = FrameGeometry(params, transforms, trajectory, image_topic)

    def times_needed(self, mask: Mask, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, of odometry that `build` can use; see `FrameGeometry`."""
        return self._geometry.times_needed(mask, camera_info, cloud)

    def build(self, mask: Mask, camera_info: Any, cloud: Any) -> PaintedSweep:
        """Paint a sweep.

        Args:
            mask: of the image that goes with it.
            camera_info: sensor_msgs/CameraInfo of the image, not of the mask.
            cloud: sensor_msgs/PointCloud2.

        Raises:
            CalibrationError: if intrinsics make no sense, are not the image's, or a transform is
                missing.
            CloudError: if the cloud has no usable point, or none in the image.
        """
        geometry = self._geometry
        points = geometry.cloud(cloud)
        full = geometry.camera(camera_info, mask)
        height, width = mask.shape
        check_shape(width, height, full)
        rows, columns = mask.label.shape
        camera = geometry.scaled(full, columns, rows)
        motion, kind = geometry.motion(
            points, full, stamp_ns(mask), lambda: spinning_beams(points)
        )
        seen = geometry.project(points, camera, motion)
        label, confidence = at_points(mask.label, seen), at_points(mask.confidence, seen)
        return PaintedSweep(points, seen.index, label, confidence, kind)

    def warm_up(self) -> None:
        """Compile or load every compiled function, so that the first cloud is not late."""
        from drive_segment_ros.ros.warm_up import example_messages, example_vehicle

        image, info, cloud = example_messages()
        painter = CloudPainter(self._params, *example_vehicle(self._params.base_frame))
        blank = np.zeros((image.height // 2, image.width // 2), np.uint8)
        mask = Mask(image.header, blank, blank, (image.height, image.width))
        painter.times_needed(mask, info, cloud)
        painter.build(mask, info, cloud)
