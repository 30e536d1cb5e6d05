"""Prepares each frame once before training; each process prepares its share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.progress import progress_bar
from offline_training.training.ahead import ahead
from offline_training.training.checkpoints import MODEL_FILE, load_model
from offline_training.training.distillation import (
    DistillationParameters,
    soft_targets,
    teacher_probability,
)
from offline_training.training.frame_images import FrameImages, Images, WithImage
from offline_training.training.frame_targets import (
    FrameTargets,
    RegionTargets,
    pseudo_label_targets,
)
from offline_training.training.processes import (
    data_threads,
    distributed_rank,
    together,
    training_device,
)
from offline_training.training.shards import own_shards, shard_folder, wait_until_visible
from offline_training.training.unlabelled import StudentFrame


def prepare_images(
    folder: Path, frames: Sequence[WithImage], height: int, width: int
) -> FrameImages:
    """Return frames at network size; decode them unless `folder` contains them.

    Raises:
        DatasetError: if one cannot be read, or the folder cannot be written.
    """
    with _shown('reading', folder, len(frames)) as progress:
        together(lambda alive: FrameImages.write(folder, frames, height, width, alive, progress))
    return FrameImages.open(folder, len(frames))


def prepare_labels(
    folder: Path,
    labels: Callable[[int], NDArray[np.uint8]],
    count: int,
    classes: int,
    size: tuple[int, int],
    class_balance: float,
) -> FrameTargets:
    """Return labels as targets; compute them unless `folder` contains them.

    Args:
        folder: of the shards.
        labels: returns a frame's (h, w) uint8 label, 255 unknown.
        count: number of frames.
        classes: number of classes K.
        size: height and width of the network's input, px.
        class_balance: how much rare classes count more.

    Raises:
        DatasetError: if a label cannot be read or is none, or the folder cannot be written.
    """

    def target(index: int) -> RegionTargets:
        return pseudo_label_targets(labels(index), classes, *size)

    def targets(chosen: range) -> Iterator[RegionTargets]:
        return ahead(target, chosen, data_threads())

    with _shown('labels', folder, count) as progress:
        together(lambda alive: FrameTargets.write(folder, count, targets, alive, progress))
    return FrameTargets(folder, count, class_balance)


def prepare_answers(
    folder: Path,
    frames: Sequence[StudentFrame],
    images: Images,
    teacher: Path,
    parameters: DistillationParameters,
    class_balance: float,
) -> FrameTargets:
    """Return a teacher's predictions as targets; compute them unless `folder` contains them.

    Args:
        folder: of the shards.
        frames: whose segments and pseudo-labels contribute to the targets.
        images: of the frames, at network size.
        teacher: a model, or the folder of one.
        parameters: of the targets.
        class_balance: how much rare classes count more.

    Raises:
        DatasetError: if a frame cannot be read, or the folder cannot be written.
        ModelError: if there is no teacher, or it is damaged.
    """
    if not teacher.is_file():
        wait_until_visible(teacher / MODEL_FILE)
    network, _ = load_model(teacher)
    network.to(training_device())

    def answered(index: int) -> tuple[int, NDArray[np.uint8], NDArray[np.float32]]:
        image = images[index]
        return index, image, teacher_probability(network, image)

    def pooled(answer: tuple[int, NDArray[np.uint8], NDArray[np.float32]]) -> RegionTargets:
        index, image, probability = answer
        frame = frames[index]
        return soft_targets(probability, image, frame.segment(), frame.pseudo_label(), parameters)

    def targets(chosen: range) -> Iterator[RegionTargets]:
        # The teacher predicts on this thread, while others average its previous predictions.
        return ahead(pooled, map(answered, chosen), data_threads())

    with _shown(f'targets for {folder.name}', folder, len(frames)) as progress:
        together(lambda alive: FrameTargets.write(folder, len(frames), targets, alive, progress))
    return FrameTargets(folder, len(frames), class_balance)


@contextlib.contextmanager
def _shown(name: str, folder: Path, count: int) -> Iterator[Callable[[int], None]]:
    """Show the first process's progress; yield the function to call with the frames done."""
    missing = sum(
        len(chosen) for k, chosen in own_shards(count) if not shard_folder(folder, k).exists()
    )
    if distributed_rank()[0] > 0 or not missing:
        yield lambda done: None
        return
    with progress_bar() as show:
        total = 0

        def more(done: int) -> None:
            nonlocal total
            total += done
            show(name, total, missing)

        yield more
