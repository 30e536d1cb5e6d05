"""The parameters of a simulated drive."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.parameters import parameter

# Yaw of each camera's viewing direction, to the left of forward.
CAMERA_YAW_DEG = {
    'front': 0.0,
    'front_left': 55.0,
    'front_right': -55.0,
    'back_left': 110.0,
    'back': 180.0,
    'back_right': -110.0,
}
RIGS = {
    'front': ('front',),
    'three': ('front', 'front_left', 'front_right'),
    'six': tuple(CAMERA_YAW_DEG),
}


@dataclasses.dataclass(frozen=True)
class CameraParameters:
    """The cameras of the rig; they are identical except for the direction given by the name."""

    model: str = parameter(
        'pinhole',
        'camera model; images keep the lens distortion',
        choices=('pinhole', 'plumb_bob', 'equidistant'),
    )
    width: int = parameter(960, 'image width', unit='px', minimum=16)
    height: int = parameter(540, 'image height', unit='px', minimum=16)
    field_of_view_deg: float = parameter(
        70.0,
        'horizontal field of view of an undistorted lens of this focal length; a fisheye covers '
        'twice this angle',
        unit='deg',
        minimum=20.0,
        maximum=100.0,
    )
    encoding: str = parameter('jpeg', 'compressed or raw image messages', choices=('jpeg', 'raw'))


@dataclasses.dataclass(frozen=True)
class LidarParameters:
    """The LiDAR on the roof."""

    model: str = parameter(
        'pandar64',
        'beam table and firing pattern; solid_state scans a curve, without beams and ring',
        choices=('pandar64', 'hdl64', 'vlp32', 'vlp16', 'solid_state'),
    )
    yaw_deg: float = parameter(0.0, 'yaw of the mount: with 180, x points backwards', unit='deg')
    stamp: str = parameter(
        'end', 'end of the sweep to which the header stamp refers', choices=('start', 'end')
    )


@dataclasses.dataclass(frozen=True)
class FaultParameters:
    """Faults of the recording; none if all are zero (exposure one)."""

    time_offset_s: float = parameter(
        0.0, 'added to every image stamp: the camera clock is ahead by this', unit='s'
    )
    time_jitter_s: float = parameter(
        0.0, 'standard deviation of a random error of each image stamp', unit='s', minimum=0.0
    )
    extrinsic_error_deg: float = parameter(
        0.0, 'angle by which each published camera orientation is wrong', unit='deg', minimum=0.0
    )
    lost: float = parameter(
        0.0, 'fraction of images and of sweeps that never arrive', minimum=0.0, maximum=1.0
    )
    late: float = parameter(
        0.0,
        'fraction of images and of sweeps that arrive 0.2 to 0.6 s late',
        minimum=0.0,
        maximum=1.0,
    )
    clock_jump_s: float = parameter(
        0.0, 'jump of all header stamps in the middle of the drive', unit='s'
    )
    rain: float = parameter(
        0.0,
        'fraction of returns lost at 50 m, with false returns near the sensor',
        minimum=0.0,
        maximum=1.0,
    )
    exposure: float = parameter(
        1.0, 'brightness of the images: 0.1 is dark, 4 is saturated', minimum=0.0
    )
    nan_points: float = parameter(0.0, 'fraction of points that are NaN', minimum=0.0, maximum=1.0)


@dataclasses.dataclass(frozen=True)
class SimulatorParameters:
    """A drive: the seed determines the town, its traffic, the light and the route."""

    seed: int = parameter(0, 'each seed is another town and another drive', minimum=0)
    duration_s: float = parameter(10.0, 'length of the drive', unit='s', minimum=0.2)
    rate_hz: float = parameter(
        10.0, 'sweeps and images per second', unit='Hz', minimum=2.0, maximum=20.0
    )
    rig: str = parameter(
        'front',
        'cameras of the vehicle: front only, three (front, front_left, front_right) or six (also '
        'back_left, back, back_right), each with its own topics, exposed when the LiDAR passes it',
        choices=tuple(RIGS),
    )
    camera: CameraParameters = dataclasses.field(default_factory=CameraParameters)
    lidar: LidarParameters = dataclasses.field(default_factory=LidarParameters)
    fault: FaultParameters = dataclasses.field(default_factory=FaultParameters)
