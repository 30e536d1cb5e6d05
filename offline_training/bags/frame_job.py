"""One frame's work, as it travels to a worker and back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import EncodedFrame
from drive_segment_ros.errors import (
    CalibrationError,
    CloudError,
    DriveSegmentError,
    ImageError,
    MotionError,
)
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bag_storage import default_type_store
from offline_training.bags.preview import draw_preview
from offline_training.bags.sensors import CAMERA_INFO, POINT_CLOUD

# What a failed frame is counted under.
_REASONS: dict[type[DriveSegmentError], str] = {
    CloudError: 'bad_cloud',
    ImageError: 'bad_image',
    CalibrationError: 'bad_calibration',
    MotionError: 'no_motion',
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all frames of a drive share.

    Attributes:
        params: the builder's parameters.
        transforms: static extrinsics.
        preview: whether a picture of each frame is wanted.
        image_topic: of the camera, which names it.
    """

    params: Any
    transforms: TransformTree
    preview: bool
    image_topic: str


# Parent, child, T_parent_child (4, 4).
Link = tuple[str, str, NDArray[np.float64]]
Pose = tuple[int, tuple[float, float, float], tuple[float, float, float, float]]


@dataclasses.dataclass(frozen=True)
class FrameJob:
    """One image with its sweep, still encoded.

    Attributes:
        setup: a pickled `Setup`; the same bytes for all jobs of a drive.
        image, info, cloud: CDR messages.
        image_type: of the image message.
        offset_s: by how much the pair's stamps differ.
        poses: the odometry around them: stamp, translation, quaternion.
        links: transforms of frames that move on the vehicle, at the image's instant.
    """

    setup: bytes
    image: bytes
    image_type: str
    info: bytes
    cloud: bytes
    offset_s: float
    poses: list[Pose]
    links: list[Link] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A frame, or why there is none.

    Attributes:
        frame: the frame's files, None where it failed.
        preview: a PNG, None where none was asked for.
        reason: what the failure is counted under, empty on success.
        message: the failure in words.
    """

    frame: EncodedFrame | None
    preview: bytes | None = None
    reason: str = ''
    message: str = ''


def run(job: FrameJob) -> Outcome:
    """Build a job's frame; errors in its data become part of the outcome."""
    try:
        return _built(job)
    except DriveSegmentError as err:
        reason = _REASONS.get(type(err))
        if reason is None:
            raise
        return Outcome(None, reason=reason, message=str(err))


def _built(job: FrameJob) -> Outcome:
    setup, builder, trajectory = _prepared(job.setup)
    trajectory.clear()
    for pose in job.poses:
        with contextlib.suppress(MotionError):  # one broken sample; its neighbours will do
            trajectory.add(*pose)
    for link in job.links:
        setup.transforms.set(*link)
    image = _decoded(job.image, job.image_type, ImageError)
    info = _decoded(job.info, CAMERA_INFO, CalibrationError)
    cloud = _decoded(job.cloud, POINT_CLOUD, CloudError)
    built = builder.build(image, info, cloud)
    preview = draw_preview(built) if setup.preview else None
    return Outcome(built.frame.encoded(), preview)


def _decoded(raw: bytes, msgtype: str, error: type[DriveSegmentError]) -> Any:
    try:
        return default_type_store().deserialize_cdr(raw, msgtype)
    except Exception as err:  # the generated code raises whatever indexing bad bytes raises
        raise error(f'a {msgtype} message is damaged: {err}') from err


@functools.lru_cache(maxsize=1)
def _prepared(setup_bytes: bytes) -> tuple[Setup, Any, Trajectory]:
    """Return this process's frame builder for a drive, made once."""
    from drive_segment_ros.ros.frame_builder import FrameBuilder

    setup: Setup = pickle.loads(setup_bytes)
    trajectory = Trajectory()
    builder = FrameBuilder(setup.params, setup.transforms, trajectory, lambda: setup.image_topic)
    return setup, builder, trajectory
