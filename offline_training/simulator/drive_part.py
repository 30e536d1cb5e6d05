"""Simulates a part of a drive: the messages recorded in a time range, and their ground truth.

Parts are simulated independently of each other, because the faults were drawn beforehand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.transforms import inverse
from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import matrix_of, quaternion_of
from offline_training.simulator.faults import Clock, Fate
from offline_training.simulator.frames import Frame, FrameTask, Stage, stage_for
from offline_training.simulator.parameters import SimulatorParameters
from offline_training.simulator.recording import PartRecording
from offline_training.simulator.traffic import STEP_S
from offline_training.simulator.truth import TruthFiles

LIDAR_TOPIC = '/lidar/points'
_ODOMETRY_DELAY_S = 0.001


@dataclasses.dataclass(frozen=True)
class DrivePart:
    """The plan of a part.

    Attributes:
        bag, truth: existing folders.
        parameters: of the drive.
        preview: whether to write preview pictures, once per second.
        start_ns: start of the drive by the recorder's clock, nanoseconds.
        number: of the part.
        first_ns, stop_ns: the part contains the messages that arrive from `first_ns` to before
            `stop_ns`, nanoseconds; None for no limit.
        periods: first and last period (inclusive) whose messages may arrive in the part.
        images: fates of the images that arrive in the part, by (period, camera index).
        sweeps: fates of the sweeps that arrive in the part, by period.
        static_poses: (4, 4) published T_base_frame by frame id; only in the first part.
    """

    bag: Path
    truth: Path
    parameters: SimulatorParameters
    preview: bool
    start_ns: int
    number: int
    first_ns: int | None
    stop_ns: int | None
    periods: tuple[int, int]
    images: Mapping[tuple[int, int], Fate]
    sweeps: Mapping[int, Fate]
    static_poses: Mapping[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class MadePart:
    """The result of a part.

    Attributes:
        information: see `PartRecording`.
        points: number of points in its sweeps.
        town: the entries of truth.json on the town and the start pose; empty except in the first
            part.
    """

    information: dict[str, Any]
    points: int
    town: dict[str, Any]


def make_part(part: DrivePart) -> MadePart:
    """Simulate a part of a drive.

    Raises:
        BagError: if the bag cannot be written.
        DatasetError: if the truth cannot be written.
    """
    return _PartMaker(part).make()


class _PartMaker:
    def __init__(self, part: DrivePart) -> None:
        self._part = part
        self._stage: Stage = stage_for(part.parameters, part.periods[0])
        # Not used: this clock only converts times, and draws no faults.
        rng = np.random.default_rng(0)
        faults, duration_s = part.parameters.fault, part.parameters.duration_s
        self._clock = Clock(part.start_ns, duration_s, faults, rng)
        self._T_odom_world = inverse(matrix_of(self._stage.first_pose))
        self._points = 0

    def make(self) -> MadePart:
        part, rate = self._part, self._part.parameters.rate_hz
        first, last = part.periods
        truth = TruthFiles(part.truth)
        with PartRecording(part.bag, part.number, part.first_ns, part.stop_ns) as recording:
            self._add_static_transforms(recording)
            before = None
            for number in range(first, last + 1):
                try:
                    frame = self._stage.frame(self._task(number), truth, part.preview)
                except OSError as err:
                    raise DatasetError(
                        f'cannot write {part.truth}: {err.strerror}; {disk_advice(err)}'
                    ) from err
                before = self._record_motion(recording, frame, before)
                self._record(recording, frame, number)
                # Messages of later periods cannot arrive before this time.
                recording.write_until(self._clock.recorder_ns((number + 1) / rate))
        world = self._stage.world
        town = {
            'class_of_instance': world.class_of.tolist(),
            'first_moving_instance': world.first_mover,
            'T_world_odom': inverse(self._T_odom_world).tolist(),
        }
        return MadePart(recording.information, self._points, {} if part.number else town)

    def _task(self, number: int) -> FrameTask:
        images = (
            self._part.images.get((number, index)) for index in range(len(self._stage.cameras))
        )
        sweep = self._part.sweeps.get(number)
        return FrameTask(
            number,
            tuple(None if image is None else image.stamp_ns for image in images),
            None if sweep is None else sweep.stamp_ns,
        )

    def _record(self, recording: PartRecording, frame: Frame, number: int) -> None:
        for index, (camera, image) in enumerate(
            zip(self._stage.cameras, frame.images, strict=True)
        ):
            if image is not None:
                fate = self._part.images[number, index]
                self._record_image(recording, camera, image, fate)
        if frame.points is not None:
            self._points += len(frame.points)
            fate = self._part.sweeps[number]
            message = recording.make.point_cloud(fate.stamp_ns, 'lidar', frame.points)
            recording.add(LIDAR_TOPIC, message, fate.arrival_ns)

    def _record_motion(
        self, recording: PartRecording, frame: Frame, before: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Record the car's odometry in a period.

        Args:
            recording: of the part.
            frame: of the period.
            before: (6,) last pose of the previous period, for the velocity of the first step;
                None extrapolates it in the part's first period, whose first step is that of the
                drive or is recorded in the previous part.

        Returns:
            (6,) the last pose, x, y, z, yaw, pitch, roll.
        """
        make, poses = recording.make, frame.motion
        last = 2 * poses[0] - poses[1] if before is None else before
        for number, pose in enumerate(poses, frame.first_step):
            step, last = pose - last, pose
            speed = float(np.linalg.norm(step[:3])) / STEP_S
            yaw_rate = float((step[3] + np.pi) % (2 * np.pi) - np.pi) / STEP_S
            T = self._T_odom_world @ matrix_of(pose)
            stamp_ns = self._clock.stamp_ns(number * STEP_S)
            arrival_ns = self._clock.recorder_ns(number * STEP_S + _ODOMETRY_DELAY_S)
            position, turn = T[:3, 3], quaternion_of(T[:3, :3])
            moved = make.transform(stamp_ns, 'odom', 'base_link', position, turn)
            recording.add('/tf', make.transforms([moved]), arrival_ns)
            odometry = make.odometry(stamp_ns, position, turn, speed, yaw_rate)
            recording.add('/odom', odometry, arrival_ns)
        return last

    def _record_image(
        self, recording: PartRecording, camera: Camera, image: NDArray[np.uint8], fate: Fate
    ) -> None:
        make = recording.make
        topic, frame, stamp_ns = (
            f'/camera/{camera.name}',
            optical_frame(camera.name),
            fate.stamp_ns,
        )
        if self._part.parameters.camera.encoding == 'raw':
            message = make.image(stamp_ns, frame, image)
            recording.add(f'{topic}/image_raw', message, fate.arrival_ns)
        else:
            message = make.compressed_image(stamp_ns, frame, image)
            recording.add(f'{topic}/image_raw/compressed', message, fate.arrival_ns)
        size = (camera.width, camera.height)
        info = make.camera_info(stamp_ns, frame, size, camera.K, camera.D, camera.distortion_model)
        recording.add(f'{topic}/camera_info', info, fate.arrival_ns)

    def _add_static_transforms(self, recording: PartRecording) -> None:
        if self._part.number:
            return
        stamp_ns = self._clock.stamp_ns(0.0)
        transforms = [
            recording.make.transform(
                stamp_ns, 'base_link', frame, pose[:3, 3], quaternion_of(pose[:3, :3])
            )
            for frame, pose in self._part.static_poses.items()
        ]
        message = recording.make.transforms(transforms)
        recording.add('/tf_static', message, self._clock.recorder_ns(0.0))


def optical_frame(camera: str) -> str:
    """Return the optical frame id of a camera."""
    return f'{camera}_camera_optical'
