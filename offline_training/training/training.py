"""The training loop: one network, one list of frames, soft targets by region."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from drive_segment_ros.errors import ModelError
from drive_segment_ros.parameters import parameter
from offline_training.networks.segmenter import Segmenter
from offline_training.training.augmentation import AugmentationParameters, augment
from offline_training.training.bf16 import processor_has_fast_bf16
from offline_training.training.checkpoints import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    save_model,
)
from offline_training.training.class_mix import paste_rare_classes
from offline_training.training.class_similarity import class_similarity
from offline_training.training.muon import Muon
from offline_training.training.training_set import FrameTargets

PREFETCHED_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class TrainingParameters:
    """How one network is trained; the defaults train `tiny` on 45 frames in minutes."""

    epochs: int = parameter(40, 'Passes over the frames, for teacher and student each.', minimum=1)
    batch_size: int = parameter(4, 'Images a step and process.', minimum=1)
    learning_rate: float = parameter(
        5e-4, 'Peak rate of AdamW, which moves kernels, biases, norms and embeddings.', minimum=0.0
    )
    matrix_learning_rate: float = parameter(
        2e-3, 'Peak rate of Muon, which moves matrices; 0 leaves them to AdamW.', minimum=0.0
    )
    class_balance: float = parameter(
        0.25,
        'How much rare classes count more: pixels count by the frequency of their class to minus '
        'this power.',
        minimum=0.0,
        maximum=1.0,
    )
    weight_decay: float = parameter(0.05, 'Decoupled weight decay of matrices.', minimum=0.0)
    warmup: float = parameter(
        0.1, 'Share of the steps in which the rate rises.', minimum=0.0, maximum=1.0
    )
    gradient_clip: float = parameter(
        1.0, 'Largest norm of the gradient; 0 leaves it as it is.', minimum=0.0
    )
    ema_decay: float = parameter(
        0.995,
        'Of the moving average of weights that is used in the end.',
        minimum=0.0,
        maximum=1.0,
    )
    precision: str = parameter(
        'auto',
        'bf16 where the processor has it, else fp32; fp32 always.',
        choices=('auto', 'bf16', 'fp32'),
    )
    answer: str = parameter(
        'minimum_bayes_risk',
        'The class a network answers with: the one of minimum Bayes risk, for which similar '
        'classes stand in for each other, or the most probable.',
        choices=('minimum_bayes_risk', 'most_probable'),
    )
    checkpoint_s: float = parameter(60.0, 'Time between checkpoints.', unit='s', minimum=0.0)
    seed: int = parameter(
        0, 'Of initial weights, order and augmentation.', minimum=0, maximum=2**31 - 1
    )
    augmentation: AugmentationParameters = dataclasses.field(
        default_factory=AugmentationParameters
    )

    def without_pasting(self) -> TrainingParameters:
        """Return the same, but nothing is pasted into a sample."""
        augmentation = dataclasses.replace(self.augmentation, paste=0.0)
        return dataclasses.replace(self, augmentation=augmentation)


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a training stands, handed to whoever shows it.

    Attributes:
        step, steps: done, and in all.
        loss: of this step.
        learning_rate: of this step.
        images_per_second: since training began or was resumed.
        data_wait_fraction: share of that time spent waiting for data.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    data_wait_fraction: float


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


@dataclasses.dataclass(frozen=True)
class Batch:
    """Augmented samples: images (B, 3, H, W) float 0..1, probability (B, K, h, w), weight."""

    images: Tensor
    probability: Tensor
    weight: Tensor  # (B, h, w)


def fit(
    network: Segmenter,
    images: NDArray[np.uint8],
    targets: FrameTargets,
    parameters: TrainingParameters,
    folder: Path,
    provenance: dict[str, Any],
    show: Callable[[Progress], None] = lambda progress: None,
) -> FitResult:
    """Train a network, or go on from the checkpoint in `folder`.

    Under `torchrun` every process takes its share of each batch, so that N processes compute what
    one would with an N times larger batch.

    Args:
        network: with initial weights; it is changed.
        images: (N, H, W, 3) uint8 RGB.
        targets: of the same N frames.
        parameters: of optimiser, schedule and augmentation.
        folder: where checkpoint and model go; if it holds a checkpoint, training goes on there.
        provenance: stored with both.
        show: called after each step by the first process.

    Raises:
        ModelError: if the loss is no number any more, or the checkpoint is of another training.
    """
    rank, world = distributed_rank()
    device = training_device()
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    state = TrainingState(network, average, make_optimizers(network, parameters))
    checkpoint = folder / CHECKPOINT_FILE
    if checkpoint.exists():
        check_same_run(load_checkpoint(checkpoint, state), provenance, checkpoint)
    learner: nn.Module = network
    if world > 1:
        learner = nn.parallel.DistributedDataParallel(network)

    per_step = parameters.batch_size * world
    steps = parameters.epochs * max(math.ceil(len(images) / per_step), 1)
    batches = prefetch(
        sample_batches(images, targets, parameters, len(state.losses), steps, rank, world)
    )
    network.train()
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=_use_bf16(parameters, device))
    began = saved = time.monotonic()
    first, waited, waiting = len(state.losses), 0.0, 0.0
    for step in range(first, steps):
        asked = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - asked

        share = schedule(step, steps, parameters.warmup)
        for group in (group for each in state.optimizers for group in each.param_groups):
            group['lr'] = share * group['peak']
        with autocast:
            logits = learner(batch.images.to(device, memory_format=torch.channels_last))
        loss = soft_cross_entropy(logits, batch.probability.to(device), batch.weight.to(device))
        loss.backward()
        if parameters.gradient_clip > 0.0:
            nn.utils.clip_grad_norm_(network.parameters(), parameters.gradient_clip)
        for optimizer in state.optimizers:
            optimizer.step()
        network.zero_grad(set_to_none=True)
        update_average(state.average, network, step, parameters.ema_decay)

        state.losses.append(_mean_over_processes(loss))
        if not math.isfinite(state.losses[-1]):
            raise ModelError(f'training diverged at step {step}; lower learning_rate')
        now = time.monotonic()
        waiting = waited / (now - began)
        if rank == 0:
            speed = (step + 1 - first) * per_step / (now - began)
            rate = share * parameters.learning_rate
            show(Progress(step + 1, steps, state.losses[-1], rate, speed, waiting))
            if now - saved >= parameters.checkpoint_s:
                save_checkpoint(checkpoint, state, provenance)
                saved = time.monotonic()
    if parameters.answer == 'minimum_bayes_risk':
        state.average.class_similarity.copy_(class_similarity(state.average, images))
    if rank == 0:
        save_checkpoint(checkpoint, state, provenance)
        save_model(folder / MODEL_FILE, state.average, provenance)
    if world > 1:
        dist.barrier()  # No process leaves before the model is there and all have been answered.
    return FitResult(state.average, state.losses, waiting)


def soft_cross_entropy(logits: Tensor, probability: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of all processes' pixels.

    Args:
        logits: (B, K, h', w') float; resized to the target's grid where that differs.
        probability: (B, K, h, w) target distribution.
        weight: (B, h, w), 0 where nothing is known.
    """
    logits = logits.float()
    if logits.shape[-2:] != probability.shape[-2:]:
        logits = functional.interpolate(
            logits, size=probability.shape[-2:], mode='bilinear', align_corners=False
        )
    entropy = -(probability.float() * functional.log_softmax(logits, dim=1)).sum(dim=1)
    total = weight.sum()
    _, world = distributed_rank()
    if world > 1:
        # DDP takes the mean of the processes' gradients; they know unequally many pixels.
        dist.all_reduce(total)
        total = total / world
    return (weight * entropy).sum() / total.clamp(min=1.0)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak rates at a step: linear warm-up, then half a cosine to zero."""
    rising = max(round(warmup * steps), 1)
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(steps - rising, 1)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the network; early steps count more, so it forgets the start."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - decay)


def sample_batches(
    images: NDArray[np.uint8],
    targets: FrameTargets,
    parameters: TrainingParameters,
    first_step: int,
    steps: int,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Yield this process's batches; what a step holds depends on seed and step alone."""
    per_step = parameters.batch_size * world
    steps_per_epoch = max(math.ceil(len(images) / per_step), 1)
    for step in range(first_step, steps):
        epoch, position = divmod(step, steps_per_epoch)
        order = np.random.default_rng((parameters.seed, epoch)).permutation(len(images))
        # The last step of an epoch is filled up from its beginning.
        order = np.resize(order, steps_per_epoch * per_step)
        chosen = order[position * per_step : (position + 1) * per_step]
        mine = range(rank * parameters.batch_size, (rank + 1) * parameters.batch_size)
        samples = [
            _sample(images, targets, parameters, int(chosen[place]), (epoch, position, place))
            for place in mine
        ]
        yield Batch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def prefetch(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Prepare batches on a thread of their own, a few ahead."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(PREFETCHED_BATCHES)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def produce() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as err:
            put(err)

    thread = threading.Thread(target=produce, name='prefetch', daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def training_device() -> torch.device:
    """Return this process's device: its own GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)))
    return torch.device('cpu')


def distributed_rank() -> tuple[int, int]:
    """Return this process's number and the number of processes; (0, 1) without torchrun."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _sample(
    images: NDArray[np.uint8],
    targets: FrameTargets,
    parameters: TrainingParameters,
    frame: int,
    place: tuple[int, int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng((parameters.seed, frame, *place))
    image, target = images[frame], targets[frame]
    paste = parameters.augmentation.paste
    # Without pasting nothing is drawn for it: a teacher's samples do not hang on this.
    if paste > 0.0 and random.random() < paste:
        other = int(random.integers(len(images)))
        image, target = paste_rare_classes(image, target, images[other], targets[other], random)
    image, regions = augment(image, target.regions, parameters.augmentation, random)
    return (
        torch.from_numpy(image).permute(2, 0, 1).float() / 255.0,
        torch.from_numpy(target.probability[regions]).permute(2, 0, 1),
        torch.from_numpy(target.weight[regions]),
    )


def make_optimizers(
    network: Segmenter, parameters: TrainingParameters
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices and AdamW for the rest, each group with its `peak` rate.

    From scratch Muon learns in 500 steps what AdamW does in 1200. Matrices and kernels decay,
    biases, norms and embeddings do not.
    """
    by_muon = parameters.matrix_learning_rate > 0.0
    tensors = list(network.parameters())
    matrices = [t for t in tensors if t.ndim == 2 and by_muon]
    decaying = [t for t in tensors if t.ndim == 4 or (t.ndim == 2 and not by_muon)]
    others = [t for t in tensors if t.ndim not in (2, 4)]
    rate, decay = parameters.learning_rate, parameters.weight_decay
    groups = [
        {'params': decaying, 'weight_decay': decay, 'peak': rate},
        {'params': others, 'weight_decay': 0.0, 'peak': rate},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate, betas=(0.9, 0.95))]
    if matrices:
        peak = parameters.matrix_learning_rate
        group = {'params': matrices, 'peak': peak}
        optimizers.append(Muon([group], peak, decay))
    return optimizers


def _use_bf16(parameters: TrainingParameters, device: torch.device) -> bool:
    if parameters.precision != 'auto':
        return parameters.precision == 'bf16'
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported()
    return processor_has_fast_bf16()


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Compare the provenance of what is to be resumed with that of who resumes it.

    Raises:
        ModelError: if they differ.
    """
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise ModelError(
            f'{path} was trained with other {", ".join(changed)}; resume it with those or '
            'choose another run folder'
        )


def _mean_over_processes(loss: Tensor) -> float:
    value = loss.detach().clone()
    _, world = distributed_rank()
    if world > 1:
        dist.all_reduce(value)
        value /= world
    return value.item()
