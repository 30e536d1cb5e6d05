"""Simulates a drive: a bag with its faults, and the truth beside it."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, ParameterError
from drive_segment_ros.parameters import to_flat
from drive_segment_ros.perception.transforms import inverse
from offline_training.common.bag_recording import Recording
from offline_training.common.worker_pool import begin_to_import, in_order, worker_pool
from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import matrix_of, quaternion_of
from offline_training.simulator.faults import Clock, Fate, misaligned
from offline_training.simulator.frames import Frame, FrameTask, Stage, enter, leave, make_frame
from offline_training.simulator.materials import CLASSES
from offline_training.simulator.parameters import RIGS, SimulatorParameters
from offline_training.simulator.traffic import STEP_S
from offline_training.simulator.truth import TruthFiles, TruthWriter

START_NS = 1_700_000_000_000_000_000
LIDAR_TOPIC = '/lidar/points'
_PERIODS_A_WORKER = 20
_PRELOAD = ['offline_training.simulator.preloaded']
_IMAGE_DELAY_S, _SWEEP_DELAY_S, _ODOMETRY_DELAY_S = 0.03, 0.005, 0.001


@dataclasses.dataclass(frozen=True)
class SimulationSummary:
    """What a simulation made."""

    bag: Path
    truth: Path
    images: int
    sweeps: int
    points: int
    lost: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """Sweeps, each with its images, a second of wall-clock time."""
        return self.sweeps / self.seconds


def truth_folder(bag: Path) -> Path:
    """Return where the truth of a simulated bag lies: beside it, named after it."""
    return bag.with_name(bag.name + '_truth')


def simulate(
    output: Path,
    parameters: SimulatorParameters,
    progress: Callable[[int, int], None] | None = None,
    preview: bool = False,
    workers: int = 0,
) -> SimulationSummary:
    """Simulate a drive and record it.

    Args:
        output: the bag's folder, new; the truth goes to `truth_folder(output)`, new too.
        parameters: which drive.
        progress: called after each sweep with how many are done and how many there will be.
        preview: also write a picture of each camera for people, once a second of the drive.
        workers: processes, each with a town of its own; 1 works in this process, 0 takes one a
            core, or fewer for a short drive. The bag is the same for any number.

    Raises:
        BagError: if the bag or its truth exists already.
        ParameterError: if the drive is shorter than a sweep, or if its clock jumps onto stamps
            it has given before.
        CalibrationError: if a lens cannot be.
        DriveSegmentError: if a worker process dies.
    """
    output = Path(output).resolve()
    for path in (output, truth_folder(output)):
        if path.exists():
            raise BagError(f'{path} exists already; choose another name or remove it')
    _check_times(parameters)
    began = time.monotonic()
    workers = workers or _enough_workers(parameters)
    if workers > 1:
        begin_to_import(_PRELOAD)  # while the town is built
    truth_path = truth_folder(output)
    stage = Stage(parameters, TruthFiles(truth_path), preview)
    drive = _Drive(parameters, stage)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            TruthWriter(truth_path, RIGS[parameters.rig]) as truth,
            Recording(output) as recording,
        ):
            drive.record(recording, truth, progress, workers)
    finally:
        leave()
    seconds = time.monotonic() - began
    return SimulationSummary(output, truth_path, **drive.counts, seconds=seconds)


def _enough_workers(parameters: SimulatorParameters) -> int:
    """Return one a core, but no more than earn the time that building their towns takes."""
    periods = _sweeps(parameters) * len(RIGS[parameters.rig])
    return max(min(len(os.sched_getaffinity(0)), periods // _PERIODS_A_WORKER), 1)


def _check_times(parameters: SimulatorParameters) -> None:
    duration, rate = parameters.duration_s, parameters.rate_hz
    jump = parameters.fault.clock_jump_s
    if _sweeps(parameters) == 0:
        raise ParameterError(
            f'a drive of {duration} s holds no sweep at {rate} Hz; make it longer'
        )
    periods = -jump * rate
    if 0.0 < -jump <= duration / 2 and abs(periods - round(periods)) < 1e-6:
        raise ParameterError(
            f'after a jump of {jump} s stamps come a second time, and truth is named by stamps; '
            'take one that is no multiple of the period'
        )


def _sweeps(parameters: SimulatorParameters) -> int:
    return int(parameters.duration_s * parameters.rate_hz + 1e-6)


class _Drive:
    """One drive: has its periods made, and records them."""

    def __init__(self, parameters: SimulatorParameters, stage: Stage) -> None:
        self.counts = {'images': 0, 'sweeps': 0, 'points': 0, 'lost': 0}
        self._parameters, self._stage = parameters, stage
        self._cameras, self._lidar = stage.cameras, stage.lidar
        seed, faults = parameters.seed, parameters.fault
        rng = np.random.default_rng([seed, 4])
        self._published = {
            camera.name: misaligned(camera.T_base_camera, faults.extrinsic_error_deg, rng)
            for camera in self._cameras
        }
        self._clock = Clock(START_NS, parameters.duration_s, faults, rng)
        self._T_odom_world = np.eye(4)
        self._last_pose: NDArray[np.float64] | None = None

    def record(
        self,
        recording: Recording,
        truth: TruthWriter,
        progress: Callable[[int, int], None] | None,
        workers: int,
    ) -> None:
        """Drive from beginning to end."""
        rate, sweeps = self._parameters.rate_hz, _sweeps(self._parameters)
        self._add_static_transforms(recording)
        initializer = functools.partial(enter, self._stage)
        with worker_pool(workers, preload=_PRELOAD, initializer=initializer) as (pool, at_once):
            fates: deque[tuple[list[Fate], Fate]] = deque()

            def tasks() -> Iterator[FrameTask]:
                for number in range(sweeps):
                    fates.append(self._fates(number, truth))
                    images, sweep = fates[-1]
                    image_stamps_ns = [None if fate.lost else fate.stamp_ns for fate in images]
                    sweep_stamp_ns = None if sweep.lost else sweep.stamp_ns
                    yield FrameTask(number, tuple(image_stamps_ns), sweep_stamp_ns)

            frames = in_order(pool, make_frame, tasks(), 2 * at_once)
            for number, frame in enumerate(frames):
                self._record(recording, frame, *fates.popleft())
                # Whatever is still to come was measured later.
                recording.write_until(self._clock.recorder_ns((number + 1) / rate))
                if progress is not None:
                    progress(number + 1, sweeps)
        truth.write_summary(self._summary())

    def _fates(self, number: int, truth: TruthWriter) -> tuple[list[Fate], Fate]:
        """Draw and note the fate of each camera's image and of the sweep of a period."""
        rate = self._parameters.rate_hz
        start, end = number / rate, (number + 1) / rate
        images = []
        for index, camera in enumerate(self._cameras):
            exposed = self._stage.exposed_s(index, number)
            fate = self._clock.fate(exposed, exposed + _IMAGE_DELAY_S, is_image=True)
            self._note(truth, camera.name, number, exposed, fate, 'images')
            images.append(fate)
        stamped = end if self._parameters.lidar.stamp == 'end' else start
        sweep = self._clock.fate(stamped, end + _SWEEP_DELAY_S, is_image=False)
        self._note(truth, 'lidar', number, stamped, sweep, 'sweeps')
        return images, sweep

    def _note(
        self, truth: TruthWriter, sensor: str, number: int, time_s: float, fate: Fate, kind: str
    ) -> None:
        self.counts['lost' if fate.lost else kind] += 1
        true_stamp_ns = self._clock.recorder_ns(time_s)
        truth.add_message(
            sensor=sensor, number=number, true_stamp_ns=true_stamp_ns, **dataclasses.asdict(fate)
        )

    def _record(self, recording: Recording, frame: Frame, images: list[Fate], sweep: Fate) -> None:
        self._record_motion(recording, frame.first_step, frame.motion)
        for camera, image, fate in zip(self._cameras, frame.images, images, strict=True):
            if image is not None:
                self._record_image(recording, camera, image, fate)
        if frame.points is not None:
            self.counts['points'] += len(frame.points)
            message = recording.make.point_cloud(sweep.stamp_ns, 'lidar', frame.points)
            recording.add(LIDAR_TOPIC, message, sweep.arrival_ns)

    def _record_motion(
        self, recording: Recording, first_step: int, poses: NDArray[np.float64]
    ) -> None:
        """Record the car's odometry."""
        make = recording.make
        if self._last_pose is None:
            self._T_odom_world = inverse(matrix_of(poses[0]))
            self._last_pose = 2 * poses[0] - poses[1]
        for number, pose in enumerate(poses, first_step):
            step = pose - self._last_pose
            self._last_pose = pose
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

    def _record_image(
        self, recording: Recording, camera: Camera, image: NDArray[np.uint8], fate: Fate
    ) -> None:
        make = recording.make
        topic, frame, stamp_ns = (
            f'/camera/{camera.name}',
            optical_frame(camera.name),
            fate.stamp_ns,
        )
        if self._parameters.camera.encoding == 'raw':
            message = make.image(stamp_ns, frame, image)
            recording.add(f'{topic}/image_raw', message, fate.arrival_ns)
        else:
            message = make.compressed_image(stamp_ns, frame, image)
            recording.add(f'{topic}/image_raw/compressed', message, fate.arrival_ns)
        size = (camera.width, camera.height)
        info = make.camera_info(stamp_ns, frame, size, camera.K, camera.D, camera.distortion_model)
        recording.add(f'{topic}/camera_info', info, fate.arrival_ns)

    def _add_static_transforms(self, recording: Recording) -> None:
        poses = {'lidar': self._lidar.T_base_lidar}
        poses |= {optical_frame(name): pose for name, pose in self._published.items()}
        stamp_ns = self._clock.stamp_ns(0.0)
        transforms = [
            recording.make.transform(
                stamp_ns, 'base_link', frame, pose[:3, 3], quaternion_of(pose[:3, :3])
            )
            for frame, pose in poses.items()
        ]
        message = recording.make.transforms(transforms)
        recording.add('/tf_static', message, self._clock.recorder_ns(0.0))

    def _summary(self) -> dict[str, Any]:
        """Return what truth.json says."""
        cameras = {
            camera.name: {
                'width': camera.width,
                'height': camera.height,
                'K': camera.K.tolist(),
                'D': camera.D.tolist(),
                'distortion_model': camera.distortion_model,
                'T_base_camera': camera.T_base_camera.tolist(),
                'T_base_camera_published': self._published[camera.name].tolist(),
            }
            for camera in self._cameras
        }
        return {
            'parameters': to_flat(self._parameters),
            'start_ns': START_NS,
            'clock_jumps_at_s': self._clock.jump_at_s,
            'classes': CLASSES,
            'class_of_instance': self._stage.world.class_of.tolist(),
            'first_moving_instance': self._stage.world.first_mover,
            'cameras': cameras,
            'T_base_lidar': self._lidar.T_base_lidar.tolist(),
            'T_world_odom': inverse(self._T_odom_world).tolist(),
            **self.counts,
        }


def optical_frame(camera: str) -> str:
    """Return the frame id of a camera's images."""
    return f'{camera}_camera_optical'
