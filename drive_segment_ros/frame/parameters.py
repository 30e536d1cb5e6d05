"""All parameters that determine frames: pairing, geometry, proposals and segments."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from drive_segment_ros.dataset.image_file import MAX_PIXELS
from drive_segment_ros.errors import ParameterError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.clouds import MAX_POINTS, PointCloud, cloud_from_message
from drive_segment_ros.perception.densify import DensifyParameters
from drive_segment_ros.perception.proposals import ProposalParameters


@dataclasses.dataclass(frozen=True)
class SyncParameters:
    """Pairing of images and sweeps, and waiting for messages.

    Raises:
        ParameterError: if `camera_offset` is neither a number nor `auto`.
    """

    max_offset_s: float = parameter(
        0.06,
        'largest difference between an image stamp (less camera delay, plus camera offset) and '
        'the stamp of its sweep, inclusive; just over half the period of a 10 Hz LiDAR, so every '
        'image has a sweep',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    camera_offset: str = parameter(
        'auto',
        'seconds added to image stamps (less camera delay) before pairing, or auto: estimated '
        'from the times of the points that the camera sees',
    )
    camera_delay_s: float = parameter(
        0.0,
        'time by which image stamps are later than the middle of the exposure, as when a driver '
        'stamps images on arrival; subtracted for pairing and for moving the points to the image; '
        'frames keep the stamps',
        unit='s',
        minimum=-1.0,
        maximum=1.0,
    )
    wait_s: float = parameter(
        0.2,
        'time, by the stamps, within which messages of one sensor may arrive out of order without '
        'changing the result; frames are delayed by as much',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    queue: int = parameter(
        60,
        'images of one camera, or sweeps, that may wait; the oldest is dropped; 2 s at 30 Hz',
        minimum=2,
        maximum=1000,
    )
    jump_back_s: float = parameter(
        1.0,
        'a stamp this far behind the newest of its sensor is a clock jump or a bag that loops, '
        'not a message out of order',
        unit='s',
        minimum=0.01,
        maximum=3600.0,
    )

    def __post_init__(self) -> None:
        try:
            # Stamps are counted in nanoseconds.
            usable = math.isfinite((self.fixed_offset_s or 0.0) * 1e9)
        except ValueError:
            usable = False
        if not usable:
            raise ParameterError(
                f"parameter camera_offset is {self.camera_offset!r}; give seconds or 'auto'"
            )

    @property
    def fixed_offset_s(self) -> float | None:
        """The camera offset in seconds, None for `auto`."""
        return None if self.camera_offset == 'auto' else float(self.camera_offset)


@dataclasses.dataclass(frozen=True)
class GeometryParameters:
    """How cameras, clouds and motion are read."""

    rectified: str = parameter(
        'auto',
        'images are rectified: p of camera_info applies, without distortion; otherwise k and d; '
        'auto decides by the name of the image topic, such as image_rect_color',
        choices=('auto', 'true', 'false'),
    )
    base_frame: str = parameter(
        'base_link', 'vehicle frame, whose motion is the odometry; z points up'
    )
    odometry_frame: str = parameter(
        'odom',
        'parent frame of the transform in /tf that is the odometry; of several children the base '
        'frame is used, otherwise the first received',
    )
    time_field: str = parameter(
        'auto', 'point field with the time of each point; empty to ignore point times'
    )
    stamped_point: str = parameter(
        'first',
        "point to which the sweep's stamp refers, if the point times have another clock",
        choices=('first', 'last'),
    )
    max_points: int = parameter(
        MAX_POINTS,
        'number of points above which a sweep is dropped as bad_cloud before it is decoded',
        minimum=1,
    )
    image_bits: int = parameter(
        0,
        'number of low bits that the camera uses in images with 16 bits per channel; with 0 all '
        '16, and images that use less than a quarter of the range are dropped as bad_image',
        minimum=0,
        maximum=16,
    )
    max_pixels: int = parameter(
        MAX_PIXELS,
        'image size, from the header, above which an image is dropped as bad_image before it is '
        'decoded',
        unit='px',
        minimum=1,
    )
    sync: SyncParameters = dataclasses.field(default_factory=SyncParameters)
    point_motion: str = parameter(
        'auto',
        'raw: points as measured; compensated: the driver has motion-compensated the points to '
        'the stamp; auto decides by whether beams keep their elevation',
        choices=('auto', 'raw', 'compensated'),
    )

    def cloud(self, message: Any) -> PointCloud:
        """Read a sensor_msgs/PointCloud2; see `cloud_from_message`."""
        return cloud_from_message(message, self.time_field, self.max_points, self.stamped_point)


@dataclasses.dataclass(frozen=True)
class FrameParameters(GeometryParameters):
    """All parameters that determine the content of a frame."""

    proposals: ProposalParameters = dataclasses.field(default_factory=ProposalParameters)
    densify: DensifyParameters = dataclasses.field(default_factory=DensifyParameters)


def frame_parameters(params: FrameParameters) -> FrameParameters:
    """Return those of a node's parameters that determine the content of frames."""
    return FrameParameters(
        **{
            field.name: getattr(params, field.name)
            for field in dataclasses.fields(FrameParameters)
        }
    )
