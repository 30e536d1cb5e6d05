"""The batches of each step: augmented samples, prepared in advance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline_training.training.ahead import ahead
from offline_training.training.augmentation import augment
from offline_training.training.class_mix import paste_rare_classes
from offline_training.training.frame_images import Images
from offline_training.training.frame_targets import FrameTargets
from offline_training.training.training_parameters import TrainingParameters


@dataclasses.dataclass(frozen=True)
class Batch:
    """Augmented samples: images (B, 3, H, W) float 0..1, probability (B, K, h, w), weight."""

    images: Tensor
    probability: Tensor
    weight: Tensor  # (B, h, w)


@dataclasses.dataclass(frozen=True)
class Sample:
    """The frame of a sample, and the sample's position in the training."""

    frame: int
    epoch: int
    step: int
    place: int


def batches(
    images: Images,
    targets: FrameTargets,
    parameters: TrainingParameters,
    first_step: int,
    steps: int,
    rank: int = 0,
    world: int = 1,
    threads: int = 1,
    cameras: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Yield this process's batches; the samples of a step depend on seed and step only.

    Args:
        images: (H, W, 3) uint8 RGB each.
        targets: of the same frames.
        parameters: seed, batch size and augmentation.
        first_step, steps: first step, and the step to stop before.
        rank, world: this process's number, and the number of processes.
        threads: number of threads that prepare batches in advance.
        cameras: of each image, which gets objects from images of the same camera only; None if all
            are of one.
    """
    alike = _of_same_camera(cameras or [''] * len(images))

    def batch(chosen: list[Sample]) -> Batch:
        return _batch([_sample(images, targets, parameters, sample, alike) for sample in chosen])

    steps_of = samples(len(images), parameters, first_step, steps, rank, world)
    return ahead(batch, steps_of, threads)


def steps_per_epoch(frames: int, parameters: TrainingParameters, world: int) -> int:
    """Return the number of steps per epoch."""
    return max(math.ceil(frames / (parameters.batch_size * world)), 1)


def samples(
    frames: int, parameters: TrainingParameters, first_step: int, steps: int, rank: int, world: int
) -> Iterator[list[Sample]]:
    """Yield this process's samples of each step."""
    per_step = parameters.batch_size * world
    per_epoch = steps_per_epoch(frames, parameters, world)
    mine = range(rank * parameters.batch_size, (rank + 1) * parameters.batch_size)
    order, drawn = np.empty(0, np.int64), -1
    for number in range(first_step, steps):
        epoch, step = divmod(number, per_epoch)
        if epoch != drawn:
            order = np.random.default_rng((parameters.seed, epoch)).permutation(frames)
            # The last step of an epoch is filled up from its beginning.
            order, drawn = np.resize(order, per_epoch * per_step), epoch
        yield [Sample(int(order[step * per_step + place]), epoch, step, place) for place in mine]


def _of_same_camera(cameras: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return, for each image, the images of its camera."""
    names, number = np.unique(np.array(cameras), return_inverse=True)
    of_camera = [np.flatnonzero(number == index) for index in range(len(names))]
    return [of_camera[index] for index in number.tolist()]


def _sample(
    images: Images,
    targets: FrameTargets,
    parameters: TrainingParameters,
    sample: Sample,
    alike: Sequence[NDArray[np.int64]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image (H, W, 3) uint8, probability (h, w, K) float16 and weight (h, w) float32."""
    place = (sample.epoch, sample.step, sample.place)
    random = np.random.default_rng((parameters.seed, sample.frame, *place))
    image, target = images[sample.frame], targets[sample.frame]
    paste = parameters.augmentation.paste
    # No random numbers are drawn without pasting, so that a teacher's samples do not depend on it.
    if paste > 0.0 and random.random() < paste:
        others = alike[sample.frame]
        other = int(others[random.integers(len(others))])
        image, target = paste_rare_classes(image, target, images[other], targets[other], random)
    image, regions = augment(image, target.regions, parameters.augmentation, random)
    return image, target.probability[regions], target.weight[regions]


def _batch(samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
    """Stack samples, by NumPy: PyTorch would start more threads in each of these."""
    images, probability, weight = zip(*samples, strict=True)
    scaled = np.divide(np.stack(images), np.float32(255.0), dtype=np.float32)
    return Batch(
        # The colours of a pixel side by side, as convolutions want them.
        torch.from_numpy(scaled).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack([p.transpose(2, 0, 1) for p in probability])),
        torch.from_numpy(np.stack(weight)),
    )
