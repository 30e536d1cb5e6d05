"""The upper bound: the same network, trained on ground truth instead of pseudo-labels.

This is the only training that reads ground truth. It is not part of the method: it shows what the
network, the frames and the schedule allow, as a reference for a student's score. Only `ablate`
uses it; no run, model or pseudo-label is made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import drive_segment_ros
from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.parameters import to_flat
from offline_training.evaluation.ground_truth import GroundTruth
from offline_training.training.preparation import prepare_images, prepare_labels
from offline_training.training.train import TrainParameters, new_network
from offline_training.training.training import fit
from offline_training.training.training_frames import input_size
from offline_training.training.training_log import TrainingLog


def train_on_truth(
    frames: Sequence[FrameRecord], truth: GroundTruth, folder: Path, parameters: TrainParameters
) -> None:
    """Train a network on the ground truth of frames, or continue its training.

    Args:
        frames: training frames; those without ground truth are ignored.
        truth: labels of their images.
        folder: for the network, whose outputs are the ground truth classes in their order.
        parameters: of network, schedule and seed, as for a teacher.

    Raises:
        DatasetError: if a label cannot be read.
        ModelError: if `folder` contains another training, or training diverges.
    """
    label_of = {item.image_path: item for item in truth.images}
    frames = [frame for frame in frames if frame.image_path in label_of]
    height, width = input_size(frames[0], parameters.height, parameters.width)
    classes = len(truth.classes)
    images = prepare_images(folder / 'cache/images', frames, height, width)
    targets = prepare_labels(
        folder / 'cache/truth',
        lambda index: truth.label(label_of[frames[index].image_path]),
        len(frames),
        classes,
        (height, width),
        parameters.training.class_balance,
    )
    # The labels may be single points, which cannot be pasted as regions.
    how = parameters.training.without_pasting()
    provenance = {
        'parameters': to_flat(parameters),
        'input': [height, width],
        'version': drive_segment_ros.__version__,
        'stage': 'trained on the truth',
    }
    torch.manual_seed(parameters.training.seed * 1000)
    network = new_network(parameters, classes, height, width)
    with TrainingLog(folder, 'bound', enabled=True) as log:
        result = fit(network, images, targets, how, folder, provenance, log.show)
        log.draw(result.losses)
