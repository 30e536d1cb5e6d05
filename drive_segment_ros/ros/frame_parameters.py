"""Everything that decides what a frame looks like, as parameters."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.densify import DensifyParameters
from drive_segment_ros.perception.proposals import ProposalParameters


@dataclasses.dataclass(frozen=True)
class GeometryParameters:
    """How cameras, clouds and motion are read."""

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


@dataclasses.dataclass(frozen=True)
class FrameParameters(GeometryParameters):
    """Everything that decides what a frame looks like."""

    proposals: ProposalParameters = dataclasses.field(default_factory=ProposalParameters)
    densify: DensifyParameters = dataclasses.field(default_factory=DensifyParameters)
