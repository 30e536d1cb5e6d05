"""A frame as the recorder's gates see it, and as it then goes to disk."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.frame import EncodedFrame
from drive_segment_ros.errors import MotionError
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.recording import quality
from drive_segment_ros.ros.built_frame import BuiltFrame

if TYPE_CHECKING:
    from drive_segment_ros.inference.segmenter import Segmenter


class RecorderCandidate:
    """A frame that may be recorded, not built yet; see `recording.gates.Candidate`.

    Attributes:
        stamp_ns: of the image, nanoseconds.
        offset_s: by how much sweep and image differ after the camera's offset, seconds.
        position: (3,) of the vehicle in the odometry frame, metres; None without odometry.
        speed: metres a second; None without odometry.
        yaw_rate_deg: degrees a second; None without odometry.
    """

    def __init__(
        self,
        built: BuiltFrame,
        camera_offset_s: float,
        trajectory: Trajectory,
        segmenter: Segmenter | None,
    ) -> None:
        """Look at what costs nothing.

        Args:
            built: the frame.
            camera_offset_s: what was added to the image's stamp for pairing.
            trajectory: the vehicle's poses around it.
            segmenter: a trained model, or None.
        """
        self.stamp_ns = built.stamp_ns
        self.offset_s = built.offset_s - camera_offset_s
        self.position: NDArray[np.float64] | None = None
        self.speed: float | None = None
        self.yaw_rate_deg: float | None = None
        with contextlib.suppress(MotionError):  # odometry has only begun, or there is none
            self.position = trajectory.pose(built.stamp_ns)[:3, 3]
            self.speed, yaw_rate = trajectory.speed_and_yaw_rate(built.stamp_ns)
            self.yaw_rate_deg = math.degrees(yaw_rate)
        self._built = built
        self._segmenter = segmenter

    @functools.cached_property
    def sharpness(self) -> float:
        """Variance of the Laplacian at working resolution."""
        return quality.sharpness(self._built.image)

    @functools.cached_property
    def clipped(self) -> float:
        """Share of pixels that are black or white."""
        return quality.clipped(self._built.image)

    @property
    def confidence(self) -> float | None:
        """The model's mean confidence, 0 to 1; None without a model."""
        return None if self._answer is None else float(self._answer[1].mean()) / 255.0

    @property
    def disagreement(self) -> float:
        """Share of pixels in which model and LiDAR segments disagree; 0 without a model."""
        if self._answer is None:
            return 0.0
        return quality.disagreement(self._built.label_image, self._answer[0])

    def encoded(self) -> EncodedFrame:
        """Return the frame's files, the model's answer beside them if there is one."""
        frame = self._built.frame
        if self._answer is not None:
            label, confidence = self._answer
            frame = dataclasses.replace(frame, model_label=label, model_confidence=confidence)
        return frame.encoded()

    def calibration(self) -> DriveCalibration:
        """Return what the frame's messages say of its camera and of where sensors are."""
        return self._built.calibration()

    @property
    def lidar_frame(self) -> str:
        """Frame id of the sweep."""
        return self._built.cloud.frame_id

    @functools.cached_property
    def _answer(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        return None if self._segmenter is None else self._segmenter.segment(self._built.image)
