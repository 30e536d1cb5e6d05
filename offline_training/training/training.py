"""The training loop: one network, one list of frames, soft targets by region."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from drive_segment_ros.errors import ModelError
from offline_training.networks.segmenter import Segmenter
from offline_training.training.batches import Batch, batches, steps_per_epoch
from offline_training.training.bf16 import processor_has_fast_bf16
from offline_training.training.checkpoints import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    save_model,
)
from offline_training.training.frame_images import Images
from offline_training.training.frame_targets import FrameTargets
from offline_training.training.loss import mean_over_processes, soft_cross_entropy
from offline_training.training.optimizers import (
    make_optimizers,
    schedule,
    set_rates,
    update_average,
)
from offline_training.training.processes import (
    all_of,
    data_threads,
    distributed_rank,
    training_device,
)
from offline_training.training.run_folder import check_same_run
from offline_training.training.shards import wait_until_visible
from offline_training.training.training_parameters import TrainingParameters
from offline_training.training.validation import TIMES, Validation

BatchType = TypeVar('BatchType')


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a training, for display.

    Attributes:
        step, steps: completed steps, and their total.
        loss: of this step.
        learning_rate: of this step.
        images_per_second: since training began or was resumed.
        data_wait_fraction: share of that time spent waiting for data.
        held_out: the last validation on held-out frames: step, cross-entropy, accuracy.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    data_wait_fraction: float
    held_out: tuple[int, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        network: the moving average of the weights, in evaluation mode.
        losses: of every step.
        data_wait_fraction: share of this process's time spent waiting for data.
    """

    network: Segmenter
    losses: list[float]
    data_wait_fraction: float


def fit(
    network: Segmenter,
    images: Images,
    targets: FrameTargets,
    parameters: TrainingParameters,
    folder: Path,
    provenance: dict[str, Any],
    show: Callable[[Progress], None] = lambda progress: None,
    validation: Validation | None = None,
    cameras: Sequence[str] | None = None,
) -> FitResult:
    """Train a network, starting from the checkpoint in `folder` if there is one.

    Under `torchrun`, N processes train with an N times larger batch, of which each computes its
    share.

    Args:
        network: with initial weights; it is changed.
        images: (H, W, 3) uint8 RGB each.
        targets: of the same frames.
        parameters: of optimiser, schedule and augmentation.
        folder: for checkpoint and model; training continues from a checkpoint in it.
        provenance: stored with both.
        show: called after each step by the first process.
        validation: frames on which the first process evaluates the network several times; they
            do not affect training.
        cameras: of the images, see `batches`.

    Raises:
        ModelError: if the loss is no number any more, or the checkpoint is of another training.
    """
    rank, world = distributed_rank()
    device = training_device()
    network.restrict(torch.from_numpy(targets.support > 0.0))
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    bf16 = use_bf16(parameters, device)
    state = TrainingState(network, average, make_optimizers(network, parameters, bf16))
    steps = parameters.epochs * steps_per_epoch(len(images), parameters, world)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def prepared(first: int) -> Iterator[Batch]:
        part = rank, world, data_threads(), cameras
        return batches(images, targets, parameters, first, steps, *part)

    def loss_of(learner: nn.Module, batch: Batch) -> Tensor:
        with autocast:
            logits = learner(batch.images.to(device, memory_format=torch.channels_last))
        return soft_cross_entropy(logits, batch.probability.to(device), batch.weight.to(device))

    network.train()
    looks = set(np.linspace(0, steps, TIMES + 1).round().astype(int).tolist())

    def shown(progress: Progress) -> None:
        if validation is not None and progress.step in looks:
            state.held_out.append((progress.step, *validation.measure(average)))
        held_out = state.held_out[-1] if state.held_out else None
        show(dataclasses.replace(progress, held_out=held_out))

    waiting = learn(state, steps, prepared, loss_of, parameters, folder, provenance, shown)
    if rank == 0:
        save_model(folder / MODEL_FILE, average, provenance)
    if world > 1:
        dist.barrier()  # No process may end before the model is written.
    return FitResult(average, state.losses, waiting)


def learn(
    state: TrainingState,
    steps: int,
    prepared: Callable[[int], Iterator[BatchType]],
    loss_of: Callable[[nn.Module, BatchType], Tensor],
    parameters: TrainingParameters,
    folder: Path,
    provenance: dict[str, Any],
    show: Callable[[Progress], None],
) -> float:
    """Run the remaining training steps, each process on its own batches.

    Args:
        state: the initial state, replaced by that of the checkpoint in `folder` if there is one.
        steps: total number of steps.
        prepared: yields this process's batches from a step on.
        loss_of: returns a batch's loss, given the network to call.
        parameters: of the schedule, the batch size and the average.
        folder: of the checkpoint.
        provenance: stored with it.
        show: called after each step by the first process.

    Returns:
        The share of this process's time spent waiting for data.

    Raises:
        ModelError: if the loss is no number any more, or the checkpoint is of another training.
    """
    rank, world = distributed_rank()
    checkpoint = folder / CHECKPOINT_FILE
    _take_up(checkpoint, state, provenance)
    learner = state.network
    if world > 1:
        learner = nn.parallel.DistributedDataParallel(learner)
    first, waited, waiting = len(state.losses), 0.0, 0.0
    coming = prepared(first)
    began = saved = time.monotonic()
    for step in range(first, steps):
        asked = time.monotonic()
        batch = next(coming)
        waited += time.monotonic() - asked

        share = schedule(step, steps, parameters.warmup)
        set_rates(state.optimizers, share)
        loss = loss_of(learner, batch)
        loss.backward()
        if parameters.gradient_clip > 0.0:
            nn.utils.clip_grad_norm_(state.network.parameters(), parameters.gradient_clip)
        for optimizer in state.optimizers:
            optimizer.step()
        state.network.zero_grad(set_to_none=True)
        update_average(state.average, state.network, step, parameters.ema_decay)

        state.losses.append(mean_over_processes(loss))
        if not math.isfinite(state.losses[-1]):
            raise ModelError(f'training diverged at step {step}; lower learning_rate')
        now = time.monotonic()
        waiting = waited / (now - began)
        if rank == 0:
            speed = (step + 1 - first) * parameters.batch_size * world / (now - began)
            rate = share * parameters.learning_rate
            show(Progress(step + 1, steps, state.losses[-1], rate, speed, waiting))
            if now - saved >= parameters.checkpoint_s:
                save_checkpoint(checkpoint, state, provenance)
                saved = time.monotonic()
    if rank == 0:
        save_checkpoint(checkpoint, state, provenance)
    return waiting


def _take_up(checkpoint: Path, state: TrainingState, provenance: dict[str, Any]) -> None:
    """Load a training state from its checkpoint, if there is one, in all processes."""
    # It was written by the first process; other nodes may not see it, or its last version, yet.
    if not all_of(checkpoint.exists())[0]:
        return
    wait_until_visible(checkpoint)
    check_same_run(load_checkpoint(checkpoint, state), provenance, checkpoint)
    if len(set(all_of(len(state.losses)))) > 1:
        raise ModelError(
            f'the processes see different states of {checkpoint}; start them again once the file '
            'is the same on all nodes'
        )


def use_bf16(parameters: TrainingParameters, device: torch.device) -> bool:
    """Return whether to train in bf16 on a device; the result is the same in all processes."""
    if parameters.precision != 'auto':
        return parameters.precision == 'bf16'
    on_gpu = device.type == 'cuda'
    able = torch.cuda.is_bf16_supported() if on_gpu else processor_has_fast_bf16()
    # Nodes may have different processors.
    return all(all_of(able))
