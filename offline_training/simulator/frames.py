"""One period of a simulated drive, complete in itself: the car's motion, images, a sweep, truth.

Every worker process has the whole town and lets its traffic flow, and so can make any period that
is not behind it, whoever makes the others.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.lidars import Lidar, Sweep
from offline_training.simulator.parameters import SimulatorParameters
from offline_training.simulator.preview import preview_picture
from offline_training.simulator.rendering import Look
from offline_training.simulator.traffic import STEP_S, step_after
from offline_training.simulator.truth import TruthFiles
from offline_training.simulator.world import World

_JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class FrameTask:
    """A period to be made.

    Attributes:
        parameters: of the drive.
        truth: where the truth goes.
        number: of the period, ascending from task to task.
        image_stamps_ns: of each camera's image, nanoseconds; None if it gets lost.
        sweep_stamp_ns: of the sweep, or None.
        preview: whether to draw pictures for people.
    """

    parameters: SimulatorParameters
    truth: TruthFiles
    number: int
    image_stamps_ns: tuple[int | None, ...]
    sweep_stamp_ns: int | None
    preview: bool


@dataclasses.dataclass(frozen=True)
class Frame:
    """What was measured in a period.

    Attributes:
        first_step: number of the first step of `motion`.
        motion: (S, 6) float64 x, y, z, yaw, pitch, roll of base_link in the world, every `STEP_S`;
            the periods' pieces follow each other without gap, one step ahead of their sensors.
        images: each camera's as its message holds it: (H, W, 3) uint8 BGR, or (N,) uint8 JPEG;
            None where lost.
        points: (N,) structured, see `Sweep`, or None where lost.
    """

    first_step: int
    motion: NDArray[np.float64]
    images: list[NDArray[np.uint8] | None]
    points: NDArray[np.void] | None


@dataclasses.dataclass(frozen=True)
class Things:
    """What a town holds.

    Attributes:
        class_of_instance: class index of each instance id; 0 is the sky.
        first_mover: the lowest instance id of what moves.
    """

    class_of_instance: list[int]
    first_mover: int


def make_frame(task: FrameTask) -> Frame:
    """Measure one period of a drive and write its truth."""
    return _stage(task.parameters, task.truth).frame(task)


def list_things(parameters: SimulatorParameters, truth: TruthFiles) -> Things:
    """Return what the town of a drive holds."""
    world = _stage(parameters, truth).world
    return Things(world.class_of.tolist(), world.first_mover)


def forget_drive() -> None:
    """Give the memory of this process's town back."""
    _stages.clear()


def _stage(parameters: SimulatorParameters, truth: TruthFiles) -> _Stage:
    """Return this process's stage of the drive whose truth goes to `truth`."""
    if truth not in _stages:
        _stages.clear()
        _stages[truth] = _Stage(parameters)
    return _stages[truth]


class _Stage:
    """A town and the sensors in it."""

    def __init__(self, parameters: SimulatorParameters) -> None:
        self._parameters = parameters
        self.world = World(parameters.seed)
        self._look = Look(self.world.sun, np.random.default_rng([parameters.seed, 3]))
        self._cameras = [Camera(name, parameters.camera) for name in parameters.camera.names]
        self._lidar = Lidar(parameters.lidar, parameters.rate_hz, parameters.seed)

    def frame(self, task: FrameTask) -> Frame:
        rate = self._parameters.rate_hz
        start, end = task.number / rate, (task.number + 1) / rate
        first_step = step_after(start) + 1 if task.number else 0
        last_step = step_after(end)
        traffic = self.world.traffic
        traffic.advance(last_step * STEP_S)
        _, poses = traffic.window(first_step * STEP_S, last_step * STEP_S)
        shown = task.preview and task.number % round(rate) == 0
        sweep = self._sweep(task) if shown or task.sweep_stamp_ns is not None else None
        images = [
            None if stamp_ns is None else self._image(task, index, stamp_ns, sweep, shown)
            for index, stamp_ns in enumerate(task.image_stamps_ns)
        ]
        recorded = sweep is not None and task.sweep_stamp_ns is not None
        return Frame(first_step, poses[:, 0], images, sweep.points if recorded else None)

    def _sweep(self, task: FrameTask) -> Sweep:
        faults = self._parameters.fault
        rng = np.random.default_rng([self._parameters.seed, 5, task.number])
        sweep = self._lidar.sweep(self.world, task.number, faults.rain, faults.nan_points, rng)
        if task.sweep_stamp_ns is not None:
            task.truth.add_sweep(task.sweep_stamp_ns, sweep)
        return sweep

    def _image(
        self, task: FrameTask, index: int, stamp_ns: int, sweep: Sweep | None, shown: bool
    ) -> NDArray[np.uint8]:
        """Return an image as its message holds it; it is exposed in the middle of the period."""
        time_s = (task.number + 0.5) / self._parameters.rate_hz
        T_world_base = ego_poses(self.world.traffic, np.array([time_s]))[0]
        camera = self._cameras[index]
        exposure = camera.expose(self.world, T_world_base, time_s)
        rng = np.random.default_rng([self._parameters.seed, 6, index, task.number])
        brightness = self._parameters.fault.exposure
        shot = camera.develop(exposure, self.world, self._look, brightness, rng)
        task.truth.add_shot(camera.name, stamp_ns, shot)
        if shown and sweep is not None:
            task.truth.add_preview(camera.name, stamp_ns, preview_picture(shot, sweep))
        if self._parameters.camera.encoding == 'raw':
            return shot.image
        return cv2.imencode('.jpg', shot.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]


_stages: dict[TruthFiles, _Stage] = {}  # one at most
