"""The inputs of a frame stream: plain values, from any middleware or file.

Stamps are header stamps in nanoseconds. Images and points are decoded on first access, so dropped
messages are never decoded.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of one camera.

    Attributes:
        camera: the camera's name.
        stamp_ns: when it was taken.
        frame_id: optical frame; empty where the message has none.
        content: a `Picture`, or the mask that a network predicted for it.
        counted: whether it counts in the statistics; images before the start of the part of a
            recording that is processed do not.
    """

    camera: str
    stamp_ns: int
    frame_id: str
    content: Any
    counted: bool = True


@dataclasses.dataclass(frozen=True)
class CameraInfo:
    """A camera's calibration, at its own resolution; valid until the next one."""

    camera: str
    model: CameraModel


@dataclasses.dataclass(frozen=True)
class Pose:
    """A pose of some frame of the vehicle in some fixed frame.

    Attributes:
        stamp_ns: of the pose.
        kind: `odometry` or `tf`, see `MotionSources`.
        parent, child: frames.
        translation: (3,) metres.
        quaternion: (4,) x y z w.
    """

    stamp_ns: int
    kind: str
    parent: str
    child: str
    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Transform:
    """The pose of one frame in another.

    Attributes:
        parent, child: frames.
        translation: (3,) metres.
        quaternion: (4,) x y z w.
        stamp_ns: start of validity; None for a static one (`/tf_static`).
    """

    parent: str
    child: str
    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    stamp_ns: int | None = None

    def as_pose(self) -> Pose:
        """Return the same as a pose of `child` in `parent`."""
        names = self.parent, self.child
        return Pose(self.stamp_ns or 0, 'tf', *names, self.translation, self.quaternion)


Event = Image | Sweep | CameraInfo | Pose | Transform
