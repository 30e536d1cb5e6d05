"""Everything that decides what a frame looks like, as parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

from drive_segment_ros.dataset.image_file import MAX_PIXELS
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.clouds import MAX_POINTS, PointCloud, cloud_from_message
from drive_segment_ros.perception.densify import DensifyParameters
from drive_segment_ros.perception.proposals import ProposalParameters


@dataclasses.dataclass(frozen=True)
class GeometryParameters:
    """How cameras, clouds and motion are read."""

    rectified: str = parameter(
        'auto',
        'images are rectified, so p of camera_info applies and no distortion, else k and d; auto '
        'tells by the name of the image topic, such as image_rect_color',
        choices=('auto', 'true', 'false'),
    )
    base_frame: str = parameter('base_link', 'the vehicle frame: z points up, odometry moves it')
    time_field: str = parameter(
        'auto', 'point field with the time of each point; empty ignores point times'
    )
    stamped_point: str = parameter(
        'first',
        "which point was measured at the sweep's stamp, where the points' own clock is another",
        choices=('first', 'last'),
    )
    max_points: int = parameter(
        MAX_POINTS,
        'largest sweep that is read; larger ones are dropped as bad_cloud before they are decoded',
        minimum=1,
    )
    image_bits: int = parameter(
        0,
        'bits the camera uses where images have 16 per channel, in the low end; 0 takes all 16 '
        'and drops images that use less than a quarter of their range as bad_image',
        minimum=0,
        maximum=16,
    )
    max_pixels: int = parameter(
        MAX_PIXELS,
        'largest image that is read, by its header; larger ones are dropped as bad_image before '
        'they are decoded',
        unit='px',
        minimum=1,
    )
    point_motion: str = parameter(
        'auto',
        'raw: each point is where the sensor measured it; compensated: the driver has moved all '
        'to the stamp; auto tells by whether beams keep their elevation',
        choices=('auto', 'raw', 'compensated'),
    )

    def cloud(self, message: Any) -> PointCloud:
        """Read a sensor_msgs/PointCloud2; see `cloud_from_message`."""
        return cloud_from_message(message, self.time_field, self.max_points, self.stamped_point)


@dataclasses.dataclass(frozen=True)
class FrameParameters(GeometryParameters):
    """Everything that decides what a frame looks like."""

    proposals: ProposalParameters = dataclasses.field(default_factory=ProposalParameters)
    densify: DensifyParameters = dataclasses.field(default_factory=DensifyParameters)
