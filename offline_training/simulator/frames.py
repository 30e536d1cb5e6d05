"""Simulates one period of a drive: the car's motion, images, a sweep, and their ground truth.

Every worker process builds the whole town and simulates all traffic, and so can simulate any
period.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.lidars import Lidar, Sweep
from offline_training.simulator.parameters import RIGS, SimulatorParameters
from offline_training.simulator.preview import preview_picture
from offline_training.simulator.rendering import Look
from offline_training.simulator.traffic import STEP_S, step_after
from offline_training.simulator.truth import TruthFiles
from offline_training.simulator.world import World

_JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class FrameTask:
    """A period to simulate.

    Attributes:
        number: of the period.
        image_stamps_ns: header stamp of each camera's image, nanoseconds; None to omit the image.
        sweep_stamp_ns: header stamp of the sweep, nanoseconds; None to omit it.
    """

    number: int
    image_stamps_ns: tuple[int | None, ...]
    sweep_stamp_ns: int | None


@dataclasses.dataclass(frozen=True)
class Frame:
    """Measurements of a period.

    Attributes:
        first_step: number of the first step of `motion`.
        motion: (S, 6) float64 x, y, z, yaw, pitch, roll of base_link in the world, every `STEP_S`,
            metres and radians. It ends at or after the period's end, where that of the next
            period continues.
        images: data of each camera's image message: (H, W, 3) uint8 BGR, or (N,) uint8 JPEG; None
            if omitted.
        points: (N,) structured, see `Sweep`; None if omitted.
    """

    first_step: int
    motion: NDArray[np.float64]
    images: list[NDArray[np.uint8] | None]
    points: NDArray[np.void] | None


class Stage:
    """A town with its traffic at a time of the drive, and the car's sensors.

    Attributes:
        world: the town and its traffic.
        cameras, lidar: on the car.
        first_pose: (6,) pose of base_link at the start of the drive, see `Frame.motion`.
    """

    def __init__(self, parameters: SimulatorParameters) -> None:
        self._parameters = parameters
        self.cameras, self.lidar = sensors(parameters)
        self.world = World(parameters.seed)
        self._look = Look(self.world.sun, np.random.default_rng([parameters.seed, 3]))
        self.first_pose = self.motion(0)[1][0]

    def can_make(self, number: int) -> bool:
        """Return whether a period is in the future, or the traffic in it is still in memory."""
        start_s = number / self._parameters.rate_hz
        return self.world.traffic.remembers(start_s - STEP_S)

    def motion(self, number: int) -> tuple[int, NDArray[np.float64]]:
        """Advance the traffic; return the number of a period's first step and the car's poses.

        They are the attributes `first_step` and `motion` of `Frame`.
        """
        rate = self._parameters.rate_hz
        first_step = step_after(number / rate) + 1 if number else 0
        last_step = step_after((number + 1) / rate)
        traffic = self.world.traffic
        traffic.advance(last_step * STEP_S)
        _, poses = traffic.window(first_step * STEP_S, last_step * STEP_S)
        return first_step, poses[:, 0]

    def frame(self, task: FrameTask, truth: TruthFiles, preview: bool) -> Frame:
        """Simulate one period of the drive and write its ground truth.

        Args:
            task: the period, and which images and sweep to simulate.
            truth: writer of the ground truth.
            preview: whether to write preview pictures, once per second.
        """
        first_step, poses = self.motion(task.number)
        shown = preview and task.number % round(self._parameters.rate_hz) == 0
        wanted = shown and any(stamp_ns is not None for stamp_ns in task.image_stamps_ns)
        sweep = self._sweep(task) if wanted or task.sweep_stamp_ns is not None else None
        if sweep is not None and task.sweep_stamp_ns is not None:
            truth.add_sweep(task.sweep_stamp_ns, sweep)
        images = [
            None
            if stamp_ns is None
            else self._image(task, index, stamp_ns, truth, sweep if shown else None)
            for index, stamp_ns in enumerate(task.image_stamps_ns)
        ]
        points = None if sweep is None or task.sweep_stamp_ns is None else sweep.points
        return Frame(first_step, poses, images, points)

    def _sweep(self, task: FrameTask) -> Sweep:
        faults = self._parameters.fault
        rng = np.random.default_rng([self._parameters.seed, 5, task.number])
        return self.lidar.sweep(self.world, task.number, faults.rain, faults.nan_points, rng)

    def _image(
        self, task: FrameTask, index: int, stamp_ns: int, truth: TruthFiles, shown: Sweep | None
    ) -> NDArray[np.uint8]:
        """Return the message data of an image exposed when the LiDAR passes its camera's view."""
        camera = self.cameras[index]
        time_s = exposed_s(self._parameters, self.lidar, camera, task.number)
        T_world_base = ego_poses(self.world.traffic, np.array([time_s]))[0]
        exposure = camera.expose(self.world, T_world_base, time_s)
        rng = np.random.default_rng([self._parameters.seed, 6, index, task.number])
        brightness = self._parameters.fault.exposure
        shot = camera.develop(exposure, self.world, self._look, brightness, rng)
        truth.add_shot(camera.name, stamp_ns, shot)
        if shown is not None:
            truth.add_preview(camera.name, stamp_ns, preview_picture(shot, shown))
        if self._parameters.camera.encoding == 'raw':
            return shot.image
        return cv2.imencode('.jpg', shot.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]


def sensors(parameters: SimulatorParameters) -> tuple[list[Camera], Lidar]:
    """Return the cameras and the LiDAR on the car."""
    cameras = [Camera(name, parameters.camera) for name in RIGS[parameters.rig]]
    return cameras, Lidar(parameters.lidar, parameters.rate_hz, parameters.seed)


def exposed_s(parameters: SimulatorParameters, lidar: Lidar, camera: Camera, number: int) -> float:
    """Return the time of a camera's exposure in period `number`, seconds of the drive."""
    return (number + lidar.passes(camera.yaw)) / parameters.rate_hz


def stage_for(parameters: SimulatorParameters, number: int) -> Stage:
    """Return a stage that can simulate a drive's periods from `number` on.

    The process reuses its last stage if possible: a town takes a second to build, and its traffic
    must be simulated from the start of the drive.
    """
    stage = _stage(parameters)
    if not stage.can_make(number):
        leave()
        stage = _stage(parameters)
    return stage


def leave() -> None:
    """Free the memory of this process's stage."""
    _stage.cache_clear()


@functools.lru_cache(maxsize=1)
def _stage(parameters: SimulatorParameters) -> Stage:
    return Stage(parameters)
