"""Trains teacher and student: from a labelled dataset to a network that needs only the image."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import drive_segment_ros
from drive_segment_ros.errors import DatasetError, ModelError
from drive_segment_ros.parameters import parameter, to_flat
from offline_training.common.classes import CLASSES_FILE, load_classes
from offline_training.networks.initial_weights import network_from_backbone
from offline_training.networks.segmenter import Segmenter, configuration
from offline_training.pseudo_labels.features import load_backbone
from offline_training.pseudo_labels.model import MODEL_FILE
from offline_training.pseudo_labels.pseudo_classes import classes_of
from offline_training.training.class_pictures import keep_class_pictures
from offline_training.training.distillation import DistillationParameters
from offline_training.training.frame_images import Images
from offline_training.training.frame_targets import FrameTargets
from offline_training.training.preparation import prepare_answers, prepare_images, prepare_labels
from offline_training.training.processes import (
    PeerError,
    distributed_rank,
    first_alone,
    process_group,
)
from offline_training.training.run_folder import begin_run, check_alike, shared_fingerprint
from offline_training.training.training import FitResult, fit
from offline_training.training.training_frames import (
    input_size,
    labelled_frames,
    left_out,
    names_of,
    warn_of_aspects,
)
from offline_training.training.training_log import TrainingLog
from offline_training.training.training_parameters import TrainingParameters
from offline_training.training.unlabelled import (
    JoinedImages,
    fingerprint_of,
    unlabelled_frames,
)
from offline_training.training.validation import Validation


@dataclasses.dataclass(frozen=True)
class TrainParameters:
    """Parameters of a training run: the network, the frames, teacher and student."""

    size: str = parameter('tiny', 'Network size.', choices=('tiny', 'small', 'base'))
    width: int = parameter(512, 'Network input width.', unit='px', minimum=16)
    height: int = parameter(
        0, "Network input height; 0 keeps the camera's aspect ratio.", unit='px', minimum=0
    )
    frames: str = parameter(
        '', 'Frames of each camera of each drive to train on, FIRST:LAST; empty for all.'
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras to train on, by name; empty for all.'
    )
    initial_weights: str = parameter(
        '',
        'Initial encoder: output of `pretrain`, or a transformers checkpoint (name or folder), '
        'whose size takes precedence; empty for none.',
    )
    position: str = parameter(
        'rows',
        'Position embedding of a patch: its row, or its position on the grid, which generalises '
        'less. For rows the mean of the grid of initial weights is used.',
        choices=('rows', 'grid'),
    )
    window: int = parameter(
        3,
        'Patches of 16 px to each side that a patch attends to; 0 for global attention, as in '
        'published backbones, with their class token.',
        minimum=0,
    )
    detail: bool = parameter(
        True,
        'Use a finer map of the image, at every 4th pixel, for edges; false for one score per '
        'patch, as published.',
    )
    rounds: int = parameter(
        1, 'Students trained in sequence, each by the previous one.', minimum=1, maximum=9
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
    unlabelled: Sequence[Path] = (),
    labels: str = '',
) -> dict[str, Any]:
    """Train a teacher and a student; under `torchrun`, in all processes together.

    Args:
        datasets: with pseudo-labels; several must have been labelled together.
        folder: of the run; with `resume`, it may contain an interrupted run to continue.
        parameters: of the networks, the training and the distillation.
        resume: whether to continue an interrupted run.
        teacher: an existing teacher for the students; None trains one.
        unlabelled: images on which students learn only the teacher's predictions, see
            `unlabelled_frames`.
        labels: name of the set of pseudo-labels; empty for the default set.

    Returns:
        `run`, `seconds`, `teacher`, `student` (paths), `data_wait_fraction`.

    Raises:
        DatasetError: if the dataset has no pseudo-labels, or the run folder cannot be written.
        ModelError: if the run folder holds another run, training diverges, or the GPU's memory
            is too small.
    """
    began = time.monotonic()
    with failures_told(folder), process_group():
        run = TrainingRun(datasets, folder, parameters, resume, unlabelled, labels)
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
    """A run folder and the networks that are trained in it; used by all processes."""

    def __init__(
        self,
        datasets: Sequence[Path],
        folder: Path,
        parameters: TrainParameters,
        resume: bool,
        unlabelled: Sequence[Path] = (),
        labels: str = '',
    ) -> None:
        """Create a run or continue an existing one, and prepare its images.

        Raises:
            DatasetError: if frames have no pseudo-label, or the folder cannot be written.
            ModelError: if the folder holds something and `resume` is off, or another run.
        """
        self.folder = folder
        self.parameters = parameters
        self.frames = labelled_frames(datasets, parameters.frames, parameters.cameras, labels)
        found = classes_of(datasets, labels)
        self.classes = load_classes(found / CLASSES_FILE)
        self.height, self.width = input_size(self.frames[0], parameters.height, parameters.width)
        rank, processes = distributed_rank()
        self.provenance = {
            'parameters': to_flat(parameters),
            'labels': labels,
            'input': [self.height, self.width],
            'processes': processes,
            'version': drive_segment_ros.__version__,
        }
        # Raises for invalid dimensions of the network before anything is written.
        new_network(parameters, len(self.classes), self.height, self.width)
        self.unlabelled = unlabelled_frames(unlabelled)
        self.provenance['unlabelled'] = fingerprint_of(self.unlabelled)
        check_alike({**self.provenance, 'frames': names_of(self.frames)})
        self.provenance['data'] = shared_fingerprint(self.frames)
        if rank == 0:
            warn_of_aspects(self.frames, self.height, self.width)
        begin_run(folder, self.classes, self.provenance, resume, found / MODEL_FILE)
        first_alone(lambda: keep_class_pictures(found, folder, len(self.classes)))
        self.images = prepare_images(folder / 'cache/images', self.frames, self.height, self.width)
        chosen = parameters.frames, parameters.cameras, labels
        others = left_out(datasets, *chosen) if rank == 0 else []
        self.validation = Validation.of(others, self.height, self.width)

    def train_teacher(self) -> FitResult:
        """Train the teacher on the pseudo-labels: known pixels only."""
        targets = prepare_labels(
            self.folder / 'cache/teacher',
            lambda index: self.frames[index].pseudo_label(),
            len(self.frames),
            len(self.classes),
            (self.height, self.width),
            self.parameters.training.class_balance,
        )
        if not targets.known:
            raise DatasetError(
                'no pixel of the frames has a pseudo-class; there is nothing to train on'
            )
        # Pasting improves students, not teachers: docs/research_log.md.
        how = self.parameters.training.without_pasting()
        return self._fit('teacher', 0, self.images, targets, how)

    def train_student(self, student: str, teacher: Path, number: int) -> FitResult:
        """Train a new student on a teacher's predictions, averaged over regions."""
        how = self.parameters.training
        images: Images = self.images
        frames = [*self.frames, *self.unlabelled]
        if self.unlabelled:
            size = self.height, self.width
            more = prepare_images(self.folder / 'cache/unlabelled', self.unlabelled, *size)
            images = JoinedImages(self.images, more)
        targets = prepare_answers(
            self.folder / 'cache' / student,
            frames,
            images,
            teacher,
            self.parameters.distillation,
            how.class_balance,
        )
        cameras = [frame.camera for frame in frames]
        return self._fit(student, number, images, targets, how, cameras)

    def _fit(
        self,
        stage: str,
        number: int,
        images: Images,
        targets: FrameTargets,
        how: TrainingParameters,
        cameras: Sequence[str] | None = None,
    ) -> FitResult:
        rank, _ = distributed_rank()
        torch.manual_seed(self.parameters.training.seed * 1000 + number)
        with TrainingLog(self.folder / stage, stage, enabled=rank == 0) as log:
            result = fit(
                new_network(self.parameters, len(self.classes), self.height, self.width),
                images,
                targets,
                how,
                self.folder / stage,
                {**self.provenance, 'stage': stage},
                log.show,
                self.validation,
                cameras,
            )
            log.draw(result.losses)
        return result


def new_network(parameters: TrainParameters, classes: int, height: int, width: int) -> Segmenter:
    """Return a network with random weights, or with the encoder of a pretrained backbone."""
    how = parameters.position, parameters.window, parameters.detail
    if parameters.initial_weights:
        backbone = load_backbone(parameters.initial_weights)
        network = network_from_backbone(backbone.model, classes, height, width, *how)
        network.expect_colours(backbone.mean, backbone.std)
        return network
    return Segmenter(configuration(parameters.size, classes, height, width, *how))


def _student_name(number: int) -> str:
    return 'student' if number == 1 else f'student_{number}'


@contextlib.contextmanager
def failures_told(folder: Path) -> Iterator[None]:
    """Add advice to errors due to GPU memory or a lost process, as ModelError."""
    try:
        yield
    except torch.OutOfMemoryError as err:
        raise ModelError(
            "the GPU's memory is too small; lower the batch size, the width or the size"
        ) from err
    except PeerError as err:
        raise ModelError(
            f'{err}; finished work is kept in {folder}: start all processes again with --resume'
        ) from err
