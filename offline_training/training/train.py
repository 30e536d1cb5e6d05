"""Teacher, soft targets, student: from a labelled dataset to a network that needs an image."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

import drive_segment_ros
from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.errors import DatasetError, ModelError
from drive_segment_ros.parameters import parameter, to_flat
from drive_segment_ros.progress import bar
from offline_training.common.classes import CLASSES_FILE, load_classes, save_classes
from offline_training.common.files import read_object, write_json
from offline_training.common.frame_selection import fingerprint, select_frames
from offline_training.networks.initial_weights import network_from_backbone
from offline_training.networks.segmenter import Segmenter, configuration
from offline_training.pseudo_labels.features import load_backbone
from offline_training.pseudo_labels.pseudo_classes import classes_of
from offline_training.training.checkpoints import load_model
from offline_training.training.distillation import (
    DistillationParameters,
    soft_targets,
    teacher_probability,
)
from offline_training.training.training import (
    FitResult,
    TrainingParameters,
    check_same_run,
    distributed_rank,
    fit,
    training_device,
)
from offline_training.training.training_log import TrainingLog
from offline_training.training.training_set import (
    FrameImages,
    FrameTargets,
    RegionTargets,
    pseudo_label_targets,
)

_log = logging.getLogger(__name__)

RUN_FILE = 'run.json'
# Inputs are multiples of 16 px; beyond that, objects change their shape.
_SQUEEZED = 0.1
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class TrainParameters:
    """What is trained: the network, the frames, and how teacher and student learn."""

    size: str = parameter('tiny', 'Network size.', choices=('tiny', 'small', 'base'))
    width: int = parameter(512, 'Network input width.', unit='px', minimum=16)
    height: int = parameter(
        0, "Network input height; 0 keeps the camera's aspect.", unit='px', minimum=0
    )
    frames: str = parameter(
        '', 'Frames of each camera of each drive to learn from, FIRST:LAST; empty is all.'
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras to learn from, by name; empty is all.'
    )
    initial_weights: str = parameter(
        '',
        'A transformers checkpoint (name or folder) whose encoder to start from; empty is none.',
    )
    rounds: int = parameter(
        1, 'Students trained in turn, each taught by the last.', minimum=1, maximum=9
    )
    training: TrainingParameters = dataclasses.field(default_factory=TrainingParameters)
    distillation: DistillationParameters = dataclasses.field(
        default_factory=DistillationParameters
    )


def train(
    datasets: Sequence[Path],
    folder: Path,
    parameters: TrainParameters,
    resume: bool = False,
    teacher: Path | None = None,
) -> dict[str, Any]:
    """Train a teacher and a student; under `torchrun`, in all processes together.

    Args:
        datasets: with pseudo-labels; several must have been labelled together.
        folder: the run to write; with `resume` it may hold an interrupted run, which goes on.
        parameters: of the networks, the training and the distillation.
        resume: whether to go on.
        teacher: one trained before, for students to learn from; None trains one.

    Returns:
        `run`, `seconds`, `teacher`, `student` (paths), `data_wait_fraction`.

    Raises:
        DatasetError: if the dataset has no pseudo-labels, or the run folder cannot be written.
        ModelError: if the run folder holds another run, training diverges, or the GPU's memory
            is too small.
    """
    began = time.monotonic()
    with _process_group(), _memory_told():
        run = TrainingRun(datasets, folder, parameters, resume)
        waits = []
        if teacher is None:
            teacher = folder / 'teacher'
            waits.append(run.train_teacher().data_wait_fraction)
        student = teacher
        for number in range(1, parameters.rounds + 1):
            taught_by, student = student, folder / _student_name(number)
            result = run.train_student(student.name, taught_by, number)
            waits.append(result.data_wait_fraction)
    return {
        'run': str(folder),
        'seconds': round(time.monotonic() - began, 1),
        'teacher': str(teacher),
        'student': str(student),
        'data_wait_fraction': round(float(np.mean(waits)), 4),
    }


class TrainingRun:
    """A run folder: `run.json`, `classes.yaml`, `cache/` and a folder for each network."""

    def __init__(
        self,
        datasets: Sequence[Path],
        folder: Path,
        parameters: TrainParameters,
        resume: bool,
    ) -> None:
        """Start a run, or take up one.

        Raises:
            DatasetError: if frames have no pseudo-label, or the folder cannot be written.
            ModelError: if the folder holds something and `resume` is off, or another run.
        """
        self.folder = folder
        self.parameters = parameters
        self.frames = labelled_frames(datasets, parameters.frames, parameters.cameras)
        self.classes = load_classes(classes_of(datasets))
        self.height, self.width = input_size(self.frames[0], parameters)
        rank, processes = distributed_rank()
        self.provenance = {
            'parameters': to_flat(parameters),
            'input': [self.height, self.width],
            'data': fingerprint(self.frames),
            'processes': processes,
            'version': drive_segment_ros.__version__,
        }
        # What is wrong with the network's measures is said before anything is written.
        new_network(parameters, len(self.classes), self.height, self.width)
        if rank == 0:
            _warn_of_aspects(self.frames, self.height, self.width)
            self._begin(resume)
        self.images = _first_process_first(self._open_images)

    def train_teacher(self) -> FitResult:
        """Train the teacher on the pseudo-labels: known pixels only."""

        def targets() -> FrameTargets:
            classes = len(self.classes)
            labels = (
                pseudo_label_targets(frame.pseudo_label(), classes, self.height, self.width)
                for frame in self.frames
            )
            return self._targets('teacher', labels)

        known = _first_process_first(targets)
        if not known.weight.any():
            raise DatasetError(
                'no pixel of the frames has a pseudo-class; there is nothing to learn'
            )
        # Teachers lose by pasting, students gain: docs/results.md.
        return self._fit('teacher', 0, known, self.parameters.training.without_pasting())

    def train_student(self, student: str, teacher: Path, number: int) -> FitResult:
        """Train a student afresh on what a teacher says of every pixel, pooled over regions."""

        def targets() -> FrameTargets:
            network, _ = load_model(teacher)
            network.to(training_device())
            items = bar(f'targets for {student}')(range(len(self.frames)))
            pooled = (
                soft_targets(
                    teacher_probability(network, self.images[index]),
                    self.images[index],
                    self.frames[index].segment(),
                    self.frames[index].pseudo_label(),
                    self.parameters.distillation,
                )
                for index in items
            )
            return self._targets(student, pooled)

        how = self.parameters.training
        return self._fit(student, number, _first_process_first(targets), how)

    def _targets(self, stage: str, targets: Iterable[RegionTargets]) -> FrameTargets:
        return FrameTargets.create(
            self.folder / 'cache' / stage,
            len(self.frames),
            targets,
            self.parameters.training.class_balance,
        )

    def _fit(
        self, stage: str, number: int, targets: FrameTargets, how: TrainingParameters
    ) -> FitResult:
        rank, _ = distributed_rank()
        torch.manual_seed(self.parameters.training.seed * 1000 + number)
        with TrainingLog(self.folder / stage, stage, enabled=rank == 0) as log:
            result = fit(
                new_network(self.parameters, len(self.classes), self.height, self.width),
                self.images,
                targets,
                how,
                self.folder / stage,
                {**self.provenance, 'stage': stage},
                log.show,
            )
            log.draw(result.losses)
        return result

    def _begin(self, resume: bool) -> None:
        occupied = self.folder.exists() and any(self.folder.iterdir())
        if occupied and not resume:
            raise ModelError(f'{self.folder} is not empty; resume it or choose another folder')
        if (self.folder / RUN_FILE).exists():
            # All that lies in the folder was made for that run; its classes may have names now.
            check_same_run(read_object(self.folder / RUN_FILE), self.provenance, self.folder)
            for leftover in self.folder.glob('*/.*.safetensors.*'):
                leftover.unlink()  # Of one that was killed while it wrote.
            return
        if any(path.is_dir() for path in self.folder.glob('*')):
            raise ModelError(f'{self.folder} has no {RUN_FILE}; choose another run folder')
        # Last what tells that the run has begun.
        save_classes(self.folder / CLASSES_FILE, self.classes)
        write_json(self.folder / RUN_FILE, self.provenance)

    def _open_images(self) -> np.ndarray:
        folder = self.folder / 'cache/images'
        return FrameImages.create(
            folder, self.frames, self.height, self.width, bar('reading')
        ).array


def labelled_frames(
    datasets: Sequence[Path], frames: str = '', cameras: Sequence[str] = ()
) -> list[FrameRecord]:
    """Return the chosen frames of all cameras of all drives, see `select_frames`.

    Raises:
        DatasetError: if one has no pseudo-label.
    """
    selection = select_frames(Dataset(*datasets), frames, cameras)
    chosen = [frame for camera in selection for frame in camera]
    for frame in chosen:
        if not frame.pseudo_label_path.exists():
            raise DatasetError(
                f'{frame.drive}: frame {frame.stamp_ns} of camera {frame.camera} has no '
                f'pseudo-label; run `drive-segment label {" ".join(map(str, datasets))}` first, '
                'or choose cameras with --camera'
            )
    return chosen


def input_size(frame: FrameRecord, parameters: TrainParameters) -> tuple[int, int]:
    """Return the network's input height and width, multiples of 16."""
    if parameters.height:
        return parameters.height, parameters.width
    rows, columns = frame.image().shape[:2]
    return max(round(parameters.width * rows / columns / 16), 1) * 16, parameters.width


def _warn_of_aspects(frames: Sequence[FrameRecord], height: int, width: int) -> None:
    """Tell of cameras whose images the network sees squeezed, as all have one input size."""
    told: set[str] = set()
    for frame in {(frame.drive, frame.camera): frame for frame in frames}.values():
        rows, columns = frame.image().shape[:2]
        if abs(rows * width / (columns * height) - 1.0) > _SQUEEZED and frame.camera not in told:
            told.add(frame.camera)
            _log.warning(
                'images of camera %s, %d x %d, are squeezed to %d x %d; choose cameras of one '
                'shape with --camera, or set height',
                *(frame.camera, columns, rows, width, height),
            )


def new_network(parameters: TrainParameters, classes: int, height: int, width: int) -> Segmenter:
    """Return an untrained network of the size asked for, or one that starts from a checkpoint."""
    if parameters.initial_weights:
        backbone = load_backbone(parameters.initial_weights)
        network = network_from_backbone(backbone.model, classes, height, width)
        network.expect_colours(backbone.mean, backbone.std)
        return network
    return Segmenter(configuration(parameters.size, classes, height, width))


def _student_name(number: int) -> str:
    return 'student' if number == 1 else f'student_{number}'


@contextlib.contextmanager
def _process_group() -> Iterator[None]:
    """Join the other processes when started by `torchrun`, which sets WORLD_SIZE."""
    if int(os.environ.get('WORLD_SIZE', 1)) == 1:
        yield
        return
    if 'RANK' not in os.environ:
        raise ModelError('WORLD_SIZE is set but RANK is not; start several processes by torchrun')
    device = training_device()
    if device.type == 'cuda':
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelError(
                f'process {device.index} of this machine has no GPU of its own; start '
                f'{torch.cuda.device_count()}'
            )
        torch.cuda.set_device(device)
    backend = 'nccl' if device.type == 'cuda' else 'gloo'
    # The others wait while the first reads frames or asks the teacher, which may take hours.
    dist.init_process_group(backend, timeout=datetime.timedelta(days=1))
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as err:
        raise ModelError(
            "the GPU's memory is too small; lower training.batch_size, width or size"
        ) from err


def _first_process_first(work: Callable[[], T]) -> T:
    """Let the first process do work that leaves files, then the others, who find them there."""
    rank, world = distributed_rank()
    if rank > 0:
        dist.barrier()
    result = work()
    if rank == 0 and world > 1:
        dist.barrier()
    return result
