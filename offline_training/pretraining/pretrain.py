"""Pretrains an encoder on images without labels, for `train --initial` and `label --features`."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

import drive_segment_ros
from drive_segment_ros.errors import ModelError
from drive_segment_ros.parameters import parameter, to_flat
from offline_training.common.files import write_atomic, write_json
from offline_training.pretraining.self_distillation import (
    PATCH,
    SelfDistillation,
    distillation_loss,
    teacher_targets,
)
from offline_training.pretraining.views import Views, draw_views
from offline_training.training.ahead import ahead
from offline_training.training.batches import Sample, samples, steps_per_epoch
from offline_training.training.checkpoints import TrainingState
from offline_training.training.frame_images import Images
from offline_training.training.optimizers import make_optimizers
from offline_training.training.preparation import prepare_images
from offline_training.training.processes import (
    data_threads,
    distributed_rank,
    process_group,
    training_device,
)
from offline_training.training.run_folder import begin_run, check_alike
from offline_training.training.train import failures_told
from offline_training.training.training import learn, use_bf16
from offline_training.training.training_frames import input_size
from offline_training.training.training_log import TrainingLog
from offline_training.training.training_parameters import TrainingParameters
from offline_training.training.unlabelled import fingerprint_of, unlabelled_frames

# A backbone's files, as transformers writes and reads them.
WEIGHTS_FILE, CONFIGURATION_FILE = 'model.safetensors', 'config.json'
# Least spread of an encoder's tokens; an untrained encoder has at least 0.1.
_COLLAPSED = 0.01


@dataclasses.dataclass(frozen=True)
class PretrainParameters:
    """Parameters of pretraining; the defaults suit hundreds of images on a CPU."""

    size: str = parameter('tiny', 'Encoder size.', choices=('tiny', 'small', 'base'))
    epochs: int = parameter(40, 'Passes over the images.', minimum=1)
    batch_size: int = parameter(16, 'Images per step and process.', minimum=2)
    width: int = parameter(
        512, 'Width to which images are resized before views are cropped.', unit='px', minimum=16
    )
    view: int = parameter(
        128, 'Side of large views, crops of 0.4 to 1 of the shorter side; small ones have half.',
        unit='px', minimum=32,
    )  # fmt: skip
    small_views: int = parameter(4, 'Small views per image.', minimum=1)
    prototypes: int = parameter(
        256, 'Prototypes that tokens are compared with; more for more images.', minimum=2
    )
    learning_rate: float = parameter(
        1e-3,
        'Peak rate of AdamW, which updates kernels, biases, norms and embeddings.',
        minimum=0.0,
    )
    matrix_learning_rate: float = parameter(
        4e-3, 'Peak rate of Muon, which updates matrices; 0 uses AdamW for them.', minimum=0.0
    )
    ema_decay: float = parameter(
        0.99, "Decay of the teacher's moving average, the result.", minimum=0.0, maximum=1.0
    )
    checkpoint_s: float = parameter(60.0, 'Time between checkpoints.', unit='s', minimum=0.0)
    seed: int = parameter(
        0, 'Seed of initial weights, order and views.', minimum=0, maximum=2**31 - 1
    )

    def training(self) -> TrainingParameters:
        """Return the parameters shared with the training of networks."""
        shared = {field.name for field in dataclasses.fields(TrainingParameters)}
        values = {name: value for name, value in to_flat(self).items() if name in shared}
        return TrainingParameters(**values)


def pretrain(
    sources: Sequence[Path], folder: Path, parameters: PretrainParameters, resume: bool = False
) -> dict[str, Any]:
    """Train an encoder on images alone; under `torchrun`, in all processes together.

    Args:
        sources: image files, folders of images, drives and datasets, see `unlabelled_frames`.
        folder: for the backbone, in the format of transformers, and its checkpoint; with
            `resume`, it may contain an interrupted run to continue.
        parameters: of the encoder and its training.
        resume: whether to continue an interrupted run.

    Returns:
        `weights` (path), `images`, `steps`, `seconds`, `loss` (mean of the last epoch), `spread`
        (see `teacher_targets`), `data_wait_fraction`.

    Raises:
        DatasetError, ImageError: if an image cannot be read, or the folder cannot be written.
        ModelError: if the folder holds something else, training diverges or the encoder collapses.
    """
    began = time.monotonic()
    if parameters.view % PATCH:
        raise ModelError(
            f'view {parameters.view} is not a multiple of {PATCH}; choose one that is'
        )
    with failures_told(folder), process_group():
        frames = unlabelled_frames(sources)
        rank, processes = distributed_rank()
        height, width = input_size(frames[0], 0, parameters.width)
        provenance = {
            'parameters': to_flat(parameters),
            'input': [height, width],
            'processes': processes,
            'version': drive_segment_ros.__version__,
            'unlabelled': fingerprint_of(frames),
        }
        check_alike(provenance)
        begin_run(folder, (), provenance, resume)
        images = prepare_images(folder / 'cache/images', frames, height, width)
        with TrainingLog(folder, 'pretrain', enabled=rank == 0) as log:
            report = _fit(images, parameters, folder, provenance, log)
    seconds = round(time.monotonic() - began, 1)
    return {'weights': str(folder), 'images': len(frames), 'seconds': seconds, **report}


def _fit(
    images: Images,
    parameters: PretrainParameters,
    folder: Path,
    provenance: dict[str, Any],
    log: TrainingLog,
) -> dict[str, Any]:
    rank, world = distributed_rank()
    device = training_device()
    how = parameters.training()
    torch.manual_seed(parameters.seed)
    student = SelfDistillation(parameters.size, parameters.view, parameters.prototypes).to(device)
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    bf16 = use_bf16(how, device)
    state = TrainingState(student, teacher, make_optimizers(student, how, bf16))
    per_epoch = steps_per_epoch(len(images), how, world)
    steps = parameters.epochs * per_epoch
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def loss_of(learner: nn.Module, views: Views) -> Tensor:
        whole, masked = views.whole.to(device), views.masked.to(device)
        with autocast:
            *targets, spread = teacher_targets(teacher, whole)
            answers = learner(whole, masked, views.parts.to(device))
        if spread < _COLLAPSED:
            raise ModelError(
                f'the encoder collapsed at step {len(state.losses)}: all images have the same '
                f'features (spread {spread:.4f}); give more and different images, or lower the '
                'learning rates'
            )
        return distillation_loss(answers, (targets[0], targets[1]), masked)

    def prepared(first: int) -> Iterator[Views]:
        return _views(images, parameters, first, steps)

    waiting = learn(state, steps, prepared, loss_of, how, folder, provenance, log.show)
    if rank == 0:
        log.draw(state.losses)
        _save_backbone(folder, teacher.backbone)
    *_, spread = teacher_targets(teacher, next(_views(images, parameters, 0, 1)).whole.to(device))
    if world > 1:
        dist.barrier()
    return {
        'steps': steps,
        'loss': round(float(np.mean(state.losses[-per_epoch:])), 4),
        'spread': round(spread, 4),
        'data_wait_fraction': round(waiting, 4),
    }


def _views(
    images: Images, parameters: PretrainParameters, first_step: int, steps: int
) -> Iterator[Views]:
    """Yield this process's views of each step; they depend on seed and step alone."""

    def drawn(chosen: list[Sample]) -> Views:
        seeds = [(parameters.seed, *dataclasses.astuple(sample)) for sample in chosen]
        return draw_views(
            [images[sample.frame] for sample in chosen],
            list(map(np.random.default_rng, seeds)),
            parameters.view,
            parameters.small_views,
            PATCH,
        )

    rank, world = distributed_rank()
    how = parameters.training()
    chosen = samples(len(images), how, first_step, steps, rank, world)
    return ahead(drawn, chosen, data_threads())


def _save_backbone(folder: Path, backbone: Any) -> None:
    """Write a backbone as `save_pretrained` does, each file atomically."""
    weights = {name: value.cpu().contiguous() for name, value in backbone.state_dict().items()}
    configuration = {**backbone.config.to_diff_dict(), 'architectures': [type(backbone).__name__]}
    write_json(folder / CONFIGURATION_FILE, configuration)
    write_atomic(folder / WEIGHTS_FILE, safetensors.torch.save(weights, {'format': 'pt'}))
