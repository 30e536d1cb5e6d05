"""Simulates a drive: writes a bag with the requested faults, and its ground truth beside it.

The faults of all messages are drawn here, in order, and workers simulate the parts of the drive:
the result does not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.cores import usable_cores
from drive_segment_ros.errors import BagError, ParameterError
from drive_segment_ros.parameters import to_flat
from offline_training.common.engine import open_engine
from offline_training.common.workers import WorkerDiedError
from offline_training.simulator.drive_part import DrivePart, MadePart, make_part, optical_frame
from offline_training.simulator.faults import Clock, Fate, misaligned
from offline_training.simulator.frames import exposed_s, leave, sensors
from offline_training.simulator.materials import CLASSES
from offline_training.simulator.parameters import RIGS, SimulatorParameters
from offline_training.simulator.recording import write_metadata
from offline_training.simulator.traffic import STEP_S
from offline_training.simulator.truth import TruthWriter

START_NS = 1_700_000_000_000_000_000
# Each part is one file of the bag and lasts one to ten seconds. Its duration does not depend on
# the number of workers, so that the bag is the same for any number.
_SHORTEST_S, _LONGEST_S, _USUAL_PARTS = 1.0, 10.0, 32
_PERIODS_A_WORKER = 20
_IMPORTS = ['offline_training.simulator.preloaded']
_IMAGE_DELAY_S, _SWEEP_DELAY_S = 0.03, 0.005


@dataclasses.dataclass(frozen=True)
class SimulationSummary:
    """The result of a simulation.

    Attributes:
        bag, truth: folders of the bag and its ground truth.
        images, sweeps: numbers of messages that were not lost.
        points: in the recorded sweeps.
        lost: number of images and sweeps lost by the simulated fault.
        seconds: wall-clock time of the simulation.
    """

    bag: Path
    truth: Path
    images: int
    sweeps: int
    points: int
    lost: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """Sweeps, with their images, simulated per second of wall-clock time."""
        return self.sweeps / self.seconds


def truth_folder(bag: Path) -> Path:
    """Return the path of a simulated bag's ground truth: `<bag>_truth`, beside the bag."""
    return bag.with_name(bag.name + '_truth')


def simulate(
    output: Path,
    parameters: SimulatorParameters,
    progress: Callable[[int, int], None] | None = None,
    preview: bool = False,
    workers: int = 0,
    scheduler: str = '',
) -> SimulationSummary:
    """Simulate a drive and record it.

    Args:
        output: folder of the bag; neither it nor `truth_folder(output)` may exist.
        parameters: of the drive.
        progress: called after each part with the number of finished sweeps and of all sweeps.
        preview: also write a preview picture of each camera once per second of the drive.
        workers: number of processes, each of which builds the whole town; 1 runs in this process,
            0 uses one per core, or fewer for a short drive. The bag is the same for any number.
        scheduler: see `open_engine`; its workers must have access to the same folders.

    Returns:
        Paths, numbers of messages and the wall-clock time.

    Raises:
        BagError: if the bag or its truth exists already, or the bag cannot be written.
        DatasetError: if the truth or metadata.yaml cannot be written.
        ParameterError: if the drive is shorter than a sweep, or if its clock jumps back to stamps
            already used.
        CalibrationError: if a lens distortion cannot be inverted over the whole image.
        WorkerDiedError: if a part crashes its worker processes.
    """
    output = Path(output).resolve()
    for path in (output, truth_folder(output)):
        if path.exists():
            raise BagError(f'{path} exists already; choose another name or remove it')
    _check_times(parameters)
    began = time.monotonic()
    drive = _Drive(output, parameters, preview)
    output.mkdir(parents=True)
    made: list[MadePart] = []
    try:
        with (
            TruthWriter(truth_folder(output), RIGS[parameters.rig]) as truth,
            open_engine(workers or _enough_workers(parameters), scheduler, _IMPORTS) as engine,
        ):
            outcomes = engine.run(make_part, drive.parts(truth))
            for outcome in outcomes:
                if isinstance(outcome.error, WorkerDiedError):
                    raise WorkerDiedError(
                        f'part {outcome.job.number} of {output}: {outcome.error}'
                    )
                if outcome.error is not None:
                    raise outcome.error
                assert outcome.result is not None
                made.append(outcome.result)
                if progress is not None:
                    progress(outcome.job.periods[1] + 1, _sweeps(parameters))
            drive.counts['points'] = sum(part.points for part in made)
            truth.write_summary(drive.summary(made[0]))
    finally:
        leave()
    _remove_remains(output)
    write_metadata(output, [part.information for part in made])
    seconds = time.monotonic() - began
    return SimulationSummary(output, truth_folder(output), **drive.counts, seconds=seconds)


def _remove_remains(bag: Path) -> None:
    """Remove the temporary folders of crashed workers, whose parts were repeated by others."""
    for folder in bag.glob(f'.{bag.name}_*'):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _enough_workers(parameters: SimulatorParameters) -> int:
    """Return one worker per core, or fewer if building a town takes longer than it saves."""
    periods = _sweeps(parameters) * len(RIGS[parameters.rig])
    parts = len(_part_times(parameters)) - 1
    return max(min(usable_cores(), periods // _PERIODS_A_WORKER, parts), 1)


def _check_times(parameters: SimulatorParameters) -> None:
    duration, rate = parameters.duration_s, parameters.rate_hz
    jump = parameters.fault.clock_jump_s
    if _sweeps(parameters) == 0:
        raise ParameterError(f'a drive of {duration} s has no sweep at {rate} Hz; make it longer')
    periods = -jump * rate
    if 0.0 < -jump <= duration / 2 and abs(periods - round(periods)) < 1e-6:
        raise ParameterError(
            f'after a jump of {jump} s stamps are repeated, but ground truth is named by stamps; '
            'use one that is not a multiple of the period'
        )


def _sweeps(parameters: SimulatorParameters) -> int:
    return int(parameters.duration_s * parameters.rate_hz + 1e-6)


def _part_times(parameters: SimulatorParameters) -> list[float]:
    """Return the boundaries of a drive's parts, (parts + 1) times in seconds of the drive."""
    duration = parameters.duration_s
    usual = min(int(duration / _SHORTEST_S), _USUAL_PARTS)
    parts = max(usual, math.ceil(duration / _LONGEST_S), 1)
    return [duration * k / parts for k in range(parts + 1)]


class _Drive:
    """Draws the faults of a drive's messages and plans its parts."""

    def __init__(self, output: Path, parameters: SimulatorParameters, preview: bool) -> None:
        self.counts = {'images': 0, 'sweeps': 0, 'points': 0, 'lost': 0}
        self._output, self._parameters, self._preview = output, parameters, preview
        self._cameras, self._lidar = sensors(parameters)
        seed, faults = parameters.seed, parameters.fault
        rng = np.random.default_rng([seed, 4])
        self._published = {
            camera.name: misaligned(camera.T_base_camera, faults.extrinsic_error_deg, rng)
            for camera in self._cameras
        }
        self._clock = Clock(START_NS, parameters.duration_s, faults, rng)
        self._images: dict[tuple[int, int], Fate] = {}  # not in a part yet, by period and camera
        self._sweeps: dict[int, Fate] = {}  # not in a part yet, by period

    def parts(self, truth: TruthWriter) -> Iterator[DrivePart]:
        """Yield the plan of each part, and write the fate of each message to the truth."""
        rate, periods = self._parameters.rate_hz, _sweeps(self._parameters)
        times = _part_times(self._parameters)
        limits = [None, *(self._clock.recorder_ns(time_s) for time_s in times[1:-1]), None]
        drawn = 0
        for number, (start_s, end_s) in enumerate(itertools.pairwise(times)):
            last = min(int(end_s * rate + 1e-6), periods - 1)
            for period in range(drawn, last + 1):
                self._draw(period, truth)
            drawn = max(drawn, last + 1)
            first_ns, stop_ns = limits[number], limits[number + 1]
            images = _arriving(self._images, stop_ns)
            sweeps = _arriving(self._sweeps, stop_ns)
            measured = [*(period for period, _ in images), *sweeps]
            # Odometry arrives after its stamp, and a period's steps extend past its end.
            moving = max(int((start_s - 2.0 * STEP_S) * rate), 0)
            yield DrivePart(
                self._output,
                truth.files.path,
                self._parameters,
                self._preview,
                START_NS,
                number,
                first_ns,
                stop_ns,
                (min([moving, *measured]), last),
                images,
                sweeps,
                self._static_poses() if number == 0 else {},
            )

    def _draw(self, number: int, truth: TruthWriter) -> None:
        """Draw the fates of a period's images and sweep, and write them to the truth."""
        rate = self._parameters.rate_hz
        start, end = number / rate, (number + 1) / rate
        for index, camera in enumerate(self._cameras):
            exposed = exposed_s(self._parameters, self._lidar, camera, number)
            fate = self._clock.fate(exposed, exposed + _IMAGE_DELAY_S, is_image=True)
            self._note(truth, camera.name, number, exposed, fate, 'images')
            if not fate.lost:
                self._images[number, index] = fate
        stamped = end if self._parameters.lidar.stamp == 'end' else start
        sweep = self._clock.fate(stamped, end + _SWEEP_DELAY_S, is_image=False)
        self._note(truth, 'lidar', number, stamped, sweep, 'sweeps')
        if not sweep.lost:
            self._sweeps[number] = sweep

    def _note(
        self, truth: TruthWriter, sensor: str, number: int, time_s: float, fate: Fate, kind: str
    ) -> None:
        self.counts['lost' if fate.lost else kind] += 1
        true_stamp_ns = self._clock.recorder_ns(time_s)
        truth.add_message(
            sensor=sensor, number=number, true_stamp_ns=true_stamp_ns, **dataclasses.asdict(fate)
        )

    def _static_poses(self) -> dict[str, Any]:
        poses = {'lidar': self._lidar.T_base_lidar}
        return poses | {optical_frame(name): pose for name, pose in self._published.items()}

    def summary(self, first: MadePart) -> dict[str, Any]:
        """Return the content of truth.json; the town's entries come from the first part."""
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
            'class_of_instance': first.town['class_of_instance'],
            'first_moving_instance': first.town['first_moving_instance'],
            'cameras': cameras,
            'T_base_lidar': self._lidar.T_base_lidar.tolist(),
            'T_world_odom': first.town['T_world_odom'],
            **self.counts,
        }


def _arriving(fates: dict[Any, Fate], stop_ns: int | None) -> dict[Any, Fate]:
    """Remove and return the pending messages that arrive before `stop_ns`; all if None."""
    arriving = {
        key: fate for key, fate in fates.items() if stop_ns is None or fate.arrival_ns < stop_ns
    }
    for key in arriving:
        del fates[key]
    return arriving
