"""Compile or load all compiled functions, so that the first frame is not delayed."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.compiled_kernels import FRAMES, VIEW, note_compiled
from drive_segment_ros.frame.build import build, to_frame
from drive_segment_ros.frame.events import CameraInfo, Event, Image, Pose, Transform
from drive_segment_ros.frame.example_scene import example_camera, example_cloud, example_picture
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters, GeometryParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.view import View

_STAMP_NS = 1_000_000_000
_CAMERA, _LIDAR = 'warm_up_camera', 'warm_up_lidar'
# Optical axes, z forward, x right, y down, of a camera that looks along the LiDAR's x axis.
_LOOKING_FORWARD = (0.5, -0.5, 0.5, -0.5)
_STILL = (0.0, 0.0, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A picture that needs no decoding, see `frame.picture.Picture`."""

    image: NDArray[np.uint8]

    def size(self) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        return height, width

    def decode(self, height: int, width: int) -> NDArray[np.uint8]:
        return self.image

    def encoded(self) -> tuple[bytes, str]:
        return b'', '.png'


def warm_up(params: FrameParameters) -> None:
    """Build a frame of the example scene, and record that its functions are compiled."""
    to_frame(build(example_pair(params), params), params).encoded()
    note_compiled(FRAMES)


def warm_up_view(params: GeometryParameters) -> None:
    """Project the example scene, as for painting clouds."""
    pair = example_pair(params)
    View.of(pair, pair.camera, params).points()
    note_compiled(VIEW)


def example_pair(params: GeometryParameters) -> Pair:
    """Return an image and its sweep from a vehicle that drives past a wall at 10 m/s."""
    sync = dataclasses.replace(params.sync, camera_offset='auto')
    stream = FrameStream(dataclasses.replace(params, sync=sync), motion_kinds=('odometry',))
    events: list[Event] = [
        Transform(_LIDAR, _CAMERA, (0.0, 0.0, 0.0), _LOOKING_FORWARD),
        Transform(params.base_frame, _LIDAR, (0.0, 0.0, 0.0), _STILL),
        CameraInfo(_CAMERA, example_camera(_CAMERA)),
        Sweep(_STAMP_NS, _LIDAR, lambda: example_cloud(_STAMP_NS, _LIDAR, params)),
        Image(_CAMERA, _STAMP_NS, _CAMERA, _Drawn(example_picture())),
    ]
    for second in (0, 1, 2):
        position = (10.0 * second, 0.0, 0.0)
        frames = params.odometry_frame, params.base_frame
        events.append(Pose(second * _STAMP_NS + 1, 'odometry', *frames, position, _STILL))
    pairs = [pair for event in events for pair in stream.push(event)] + stream.finish()
    return pairs[0]
