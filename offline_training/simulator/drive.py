"""Simulates a drive: a bag with its faults, and the truth beside it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, ParameterError
from drive_segment_ros.parameters import to_flat
from drive_segment_ros.perception.transforms import inverse
from offline_training.simulator.cameras import Camera, Exposure
from offline_training.simulator.ego import ego_poses, matrix_of, quaternion_of
from offline_training.simulator.faults import Clock, Fate, misaligned
from offline_training.simulator.lidars import Lidar, Sweep
from offline_training.simulator.materials import CLASSES
from offline_training.simulator.parameters import CAMERA_YAW_DEG, SimulatorParameters
from offline_training.simulator.preview import preview_picture
from offline_training.simulator.recording import Recording
from offline_training.simulator.rendering import Look
from offline_training.simulator.traffic import STEP_S
from offline_training.simulator.truth import TruthWriter
from offline_training.simulator.world import World

START_NS = 1_700_000_000_000_000_000
LIDAR_TOPIC = '/lidar/points'
_JPEG_QUALITY = 92
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
) -> SimulationSummary:
    """Simulate a drive and record it.

    Args:
        output: the bag's folder, new; the truth goes to `truth_folder(output)`, new too.
        parameters: which drive.
        progress: called after each sweep with how many are done and how many there will be.
        preview: also write a picture of each camera for people, once a second of the drive.

    Raises:
        BagError: if the bag or its truth exists already.
        ParameterError: if a camera is unknown, named twice, or there is none, if the drive is
            shorter than a sweep, or if its clock jumps onto stamps it has given before.
        CalibrationError: if a lens cannot be.
    """
    output = Path(output).resolve()
    for path in (output, truth_folder(output)):
        if path.exists():
            raise BagError(f'{path} exists already; choose another name or remove it')
    names = parameters.camera.names
    unknown = [name for name in names if name not in CAMERA_YAW_DEG]
    if unknown or not names or len(set(names)) < len(names):
        raise ParameterError(
            f'camera.names is {", ".join(names) or "empty"}; '
            f'choose among {", ".join(CAMERA_YAW_DEG)}, each once'
        )
    _check_times(parameters)
    began = time.monotonic()
    drive = _Drive(parameters, preview)
    output.parent.mkdir(parents=True, exist_ok=True)
    truth = TruthWriter(truth_folder(output), names)
    with truth, Recording(output) as recording:
        drive.record(recording, truth, progress)
    return SimulationSummary(output, truth.path, **drive.counts, seconds=time.monotonic() - began)


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


class _Developing(NamedTuple):
    """An image on its way to the recorder."""

    camera: Camera
    fate: Fate
    image: Future[NDArray[np.uint8]]


class _Measuring(NamedTuple):
    """A sweep on its way to the recorder."""

    fate: Fate
    sweep: Future[Sweep]


class _Drive:
    """One drive: moves the world on and lets the sensors measure it."""

    def __init__(self, parameters: SimulatorParameters, preview: bool) -> None:
        self._preview = preview
        self.counts = {'images': 0, 'sweeps': 0, 'points': 0, 'lost': 0}
        self._parameters = parameters
        seed, faults = parameters.seed, parameters.fault
        self._world = World(seed)
        self._look = Look(self._world.sun, np.random.default_rng([seed, 3]))
        self._cameras = [Camera(name, parameters.camera) for name in parameters.camera.names]
        self._lidar = Lidar(parameters.lidar, parameters.rate_hz, seed)
        fault_rng = np.random.default_rng([seed, 4])
        self._published = {
            camera.name: misaligned(camera.T_base_camera, faults.extrinsic_error_deg, fault_rng)
            for camera in self._cameras
        }
        self._clock = Clock(START_NS, parameters.duration_s, faults, fault_rng)
        self._T_odom_world = np.eye(4)
        self._last_sample: NDArray[np.float64] | None = None

    def record(
        self,
        recording: Recording,
        truth: TruthWriter,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Drive from beginning to end.

        While the cameras are exposed, the sweep of that time is measured and the images of the
        one before are developed. Open3D lets no other Python run while it casts rays, but casts
        on all cores, so nobody waits idle.
        """
        self._truth = truth
        rate, sweeps = self._parameters.rate_hz, _sweeps(self._parameters)
        self._add_static_transforms(recording)
        with ThreadPoolExecutor(2) as pool:
            measured: list[_Measuring] = []
            developing: list[_Developing] = []
            for number in range(sweeps):
                start, end = number / rate, (number + 1) / rate
                self._drive_until(recording, end)
                measuring = pool.submit(self._measure, number)
                exposures = self._expose((start + end) / 2)
                self._record_sweeps(recording, measured)
                self._record_images(recording, developing)
                recording.write_until(self._clock.recorder_ns(start))
                developing = self._develop(pool, number, (start + end) / 2, exposures, measuring)
                measured = self._await(number, start, end, measuring)
                if progress is not None:
                    progress(number + 1, sweeps)
            self._record_sweeps(recording, measured)
            self._record_images(recording, developing)
        self._truth.write_summary(self._summary())

    def _drive_until(self, recording: Recording, time_s: float) -> None:
        """Move the world on and record the car's odometry up to just after an instant."""
        samples = self._world.traffic.advance(time_s + STEP_S)
        if self._last_sample is None:
            first, second = samples[0][1][0], samples[1][1][0]
            self._T_odom_world = inverse(matrix_of(first))
            self._last_sample = 2 * first - second
        for sample_s, poses in samples:
            T_world_base = matrix_of(poses[0])
            step = poses[0] - self._last_sample
            self._last_sample = poses[0]
            speed = float(np.linalg.norm(step[:3])) / STEP_S
            yaw_rate = float((step[3] + np.pi) % (2 * np.pi) - np.pi) / STEP_S
            T = self._T_odom_world @ T_world_base
            stamp_ns = self._clock.stamp_ns(sample_s)
            arrival_ns = self._clock.recorder_ns(sample_s + _ODOMETRY_DELAY_S)
            position, turn = T[:3, 3], quaternion_of(T[:3, :3])
            make = recording.make
            moved = make.transform(stamp_ns, 'odom', 'base_link', position, turn)
            recording.add('/tf', make.transforms([moved]), arrival_ns)
            odometry = make.odometry(stamp_ns, position, turn, speed, yaw_rate)
            recording.add('/odom', odometry, arrival_ns)

    def _measure(self, number: int) -> Sweep:
        faults = self._parameters.fault
        rng = np.random.default_rng([self._parameters.seed, 5, number])
        return self._lidar.sweep(self._world, number, faults.rain, faults.nan_points, rng)

    def _expose(self, time_s: float) -> list[Exposure]:
        """Expose all cameras at an instant: the middle of a sweep."""
        T_world_base = ego_poses(self._world.traffic, np.array([time_s]))[0]
        return [camera.expose(self._world, T_world_base, time_s) for camera in self._cameras]

    def _develop(
        self,
        pool: ThreadPoolExecutor,
        number: int,
        time_s: float,
        exposures: list[Exposure],
        measuring: Future[Sweep],
    ) -> list[_Developing]:
        """Have the images developed that will not get lost."""
        developing = []
        for index, exposure in enumerate(exposures):
            camera = self._cameras[index]
            fate = self._clock.fate(time_s, time_s + _IMAGE_DELAY_S, is_image=True)
            self._note(camera.name, number, time_s, fate, 'images')
            if not fate.lost:
                rng = np.random.default_rng([self._parameters.seed, 6, index, number])
                shown = self._preview and number % round(self._parameters.rate_hz) == 0
                image = pool.submit(
                    self._finish_image,
                    camera,
                    exposure,
                    fate.stamp_ns,
                    rng,
                    measuring if shown else None,
                )
                developing.append(_Developing(camera, fate, image))
        return developing

    def _finish_image(
        self,
        camera: Camera,
        exposure: Exposure,
        stamp_ns: int,
        rng: np.random.Generator,
        shown_with: Future[Sweep] | None,
    ) -> NDArray[np.uint8]:
        """Return an image as its message holds it; write its truth and perhaps a preview."""
        brightness = self._parameters.fault.exposure
        shot = camera.develop(exposure, self._world, self._look, brightness, rng)
        self._truth.add_shot(camera.name, stamp_ns, shot)
        if shown_with is not None:
            self._truth.add_preview(
                camera.name, stamp_ns, preview_picture(shot, shown_with.result())
            )
        if self._parameters.camera.encoding == 'raw':
            return shot.image
        return cv2.imencode('.jpg', shot.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]

    def _record_images(self, recording: Recording, developing: list[_Developing]) -> None:
        make = recording.make
        for camera, fate, future in developing:
            topic, frame = f'/camera/{camera.name}', optical_frame(camera.name)
            image, stamp_ns = future.result(), fate.stamp_ns
            if self._parameters.camera.encoding == 'raw':
                message = make.image(stamp_ns, frame, image)
                recording.add(f'{topic}/image_raw', message, fate.arrival_ns)
            else:
                message = make.compressed_image(stamp_ns, frame, image)
                recording.add(f'{topic}/image_raw/compressed', message, fate.arrival_ns)
            size = (camera.width, camera.height)
            info = make.camera_info(
                stamp_ns, frame, size, camera.K, camera.D, camera.distortion_model
            )
            recording.add(f'{topic}/camera_info', info, fate.arrival_ns)

    def _await(
        self, number: int, start_s: float, end_s: float, sweep: Future[Sweep]
    ) -> list[_Measuring]:
        """Return the sweep unless it will get lost."""
        stamp_s = end_s if self._parameters.lidar.stamp == 'end' else start_s
        fate = self._clock.fate(stamp_s, end_s + _SWEEP_DELAY_S, is_image=False)
        self._note('lidar', number, stamp_s, fate, 'sweeps')
        return [] if fate.lost else [_Measuring(fate, sweep)]

    def _record_sweeps(self, recording: Recording, measured: list[_Measuring]) -> None:
        for fate, future in measured:
            sweep = future.result()
            self.counts['points'] += len(sweep.points)
            message = recording.make.point_cloud(fate.stamp_ns, 'lidar', sweep.points)
            recording.add(LIDAR_TOPIC, message, fate.arrival_ns)
            self._truth.add_sweep(fate.stamp_ns, sweep)

    def _note(self, sensor: str, number: int, time_s: float, fate: Fate, kind: str) -> None:
        self.counts['lost' if fate.lost else kind] += 1
        true_stamp_ns = self._clock.recorder_ns(time_s)
        self._truth.add_message(
            sensor=sensor, number=number, true_stamp_ns=true_stamp_ns, **dataclasses.asdict(fate)
        )

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
            'class_of_instance': self._world.class_of.tolist(),
            'first_moving_instance': self._world.first_mover,
            'cameras': cameras,
            'T_base_lidar': self._lidar.T_base_lidar.tolist(),
            'T_world_odom': inverse(self._T_odom_world).tolist(),
            **self.counts,
        }


def optical_frame(camera: str) -> str:
    """Return the frame id of a camera's images."""
    return f'{camera}_camera_optical'
