"""One period of a simulated drive, complete in itself: the car's motion, images, a sweep, truth.

Every worker process gets the whole town and lets its traffic flow, and so can make any period that
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
from offline_training.simulator.parameters import RIGS, SimulatorParameters
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
        number: of the period, ascending from task to task.
        image_stamps_ns: of each camera's image, nanoseconds; None if it gets lost.
        sweep_stamp_ns: of the sweep, or None.
    """

    number: int
    image_stamps_ns: tuple[int | None, ...]
    sweep_stamp_ns: int | None


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


class Stage:
    """A town, the sensors in it, and where their truth goes.

    Attributes:
        world: the town and what moves in it.
        cameras, lidar: on the car.
    """

    def __init__(self, parameters: SimulatorParameters, truth: TruthFiles, preview: bool) -> None:
        self._parameters, self._truth, self._preview = parameters, truth, preview
        self.cameras = [Camera(name, parameters.camera) for name in RIGS[parameters.rig]]
        self.lidar = Lidar(parameters.lidar, parameters.rate_hz, parameters.seed)
        self.world = World(parameters.seed)
        self._look = Look(self.world.sun, np.random.default_rng([parameters.seed, 3]))

    def frame(self, task: FrameTask) -> Frame:
        """Measure one period of the drive and write its truth."""
        rate = self._parameters.rate_hz
        first_step = step_after(task.number / rate) + 1 if task.number else 0
        last_step = step_after((task.number + 1) / rate)
        traffic = self.world.traffic
        traffic.advance(last_step * STEP_S)
        _, poses = traffic.window(first_step * STEP_S, last_step * STEP_S)
        shown = self._preview and task.number % round(rate) == 0
        sweep = self._sweep(task) if shown or task.sweep_stamp_ns is not None else None
        images = [
            None if stamp_ns is None else self._image(task, index, stamp_ns, sweep, shown)
            for index, stamp_ns in enumerate(task.image_stamps_ns)
        ]
        points = None if sweep is None or task.sweep_stamp_ns is None else sweep.points
        return Frame(first_step, poses[:, 0], images, points)

    def exposed_s(self, camera: int, number: int) -> float:
        """Return when a camera exposes in a period, seconds of the drive."""
        share = self.lidar.passes(self.cameras[camera].yaw)
        return (number + share) / self._parameters.rate_hz

    def _sweep(self, task: FrameTask) -> Sweep:
        faults = self._parameters.fault
        rng = np.random.default_rng([self._parameters.seed, 5, task.number])
        sweep = self.lidar.sweep(self.world, task.number, faults.rain, faults.nan_points, rng)
        if task.sweep_stamp_ns is not None:
            self._truth.add_sweep(task.sweep_stamp_ns, sweep)
        return sweep

    def _image(
        self, task: FrameTask, index: int, stamp_ns: int, sweep: Sweep | None, shown: bool
    ) -> NDArray[np.uint8]:
        """Return an image as its message holds it, exposed as the LiDAR passes its camera."""
        time_s = self.exposed_s(index, task.number)
        T_world_base = ego_poses(self.world.traffic, np.array([time_s]))[0]
        camera = self.cameras[index]
        exposure = camera.expose(self.world, T_world_base, time_s)
        rng = np.random.default_rng([self._parameters.seed, 6, index, task.number])
        brightness = self._parameters.fault.exposure
        shot = camera.develop(exposure, self.world, self._look, brightness, rng)
        self._truth.add_shot(camera.name, stamp_ns, shot)
        if shown and sweep is not None:
            self._truth.add_preview(camera.name, stamp_ns, preview_picture(shot, sweep))
        if self._parameters.camera.encoding == 'raw':
            return shot.image
        return cv2.imencode('.jpg', shot.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]


_stages: list[Stage] = []  # that of the drive which this process is at work on


def enter(stage: Stage) -> None:
    """Make a stage the one whose frames this process makes."""
    _stages[:] = [stage]


def leave() -> None:
    """Give the memory of this process's stage back."""
    _stages.clear()


def make_frame(task: FrameTask) -> Frame:
    """Return `Stage.frame` of the stage this process has entered."""
    return _stages[0].frame(task)
