"""Soft targets of the student for every pixel, by regions.

The teacher predicts pixel by pixel and blurs edges; superpixels and LiDAR segments follow the
boundaries of objects. The target of a segment is its pseudo-class, or a mean of this and of the
teacher's prediction; elsewhere the teacher's probabilities are averaged over superpixels. Regions
with an uncertain prediction have a lower weight.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.resizing import crop_to_aspect, resize_labels
from offline_training.common.pooling import pool
from offline_training.networks.segmenter import Segmenter
from offline_training.training.frame_targets import RegionTargets


@dataclasses.dataclass(frozen=True)
class DistillationParameters:
    """Parameters of the student's targets."""

    pool_superpixels: bool = parameter(True, 'Average over superpixels where there is no segment.')
    pool_segments: bool = parameter(True, 'Average over LiDAR segments.')
    superpixel_scale: float = parameter(
        60.0, 'Scale of the superpixels at network size; a larger scale gives larger ones.',
        minimum=1.0, maximum=10_000.0,
    )  # fmt: skip
    superpixel_min_size: int = parameter(40, 'Smallest superpixel.', unit='px', minimum=1)
    pseudo_label_share: float = parameter(
        0.7,
        "Share of a segment's pseudo-class in its target; the rest is the teacher's prediction.",
        minimum=0.0,
        maximum=1.0,
    )
    confidence_power: float = parameter(
        1.0, 'Weight of a region: its largest probability to this power; 0 for equal weights.',
        minimum=0.0,
    )  # fmt: skip


@torch.no_grad()
def teacher_probability(network: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the teacher's probabilities, the mean over the image and its mirror image.

    Args:
        network: on any device.
        image: (H, W, 3) uint8 RGB at network size.

    Returns:
        (H, W, K) float32.
    """
    device = next(network.parameters()).device
    images = torch.from_numpy(np.stack([image, image[:, ::-1]])).to(device)
    probability = network.probability(images.permute(0, 3, 1, 2).float() / 255.0)
    mean = (probability[0] + probability[1].flip(-1)) / 2.0
    return mean.permute(1, 2, 0).cpu().numpy()


def soft_targets(
    probability: NDArray[np.float32],
    image: NDArray[np.uint8],
    segment: NDArray[np.uint16],
    label: NDArray[np.uint8],
    parameters: DistillationParameters,
) -> RegionTargets:
    """Average a teacher's prediction over a frame's regions.

    Args:
        probability: (H, W, K) float32 at network size.
        image: (H, W, 3) uint8 RGB at network size.
        segment: (h, w) uint16 LiDAR segment, 0 = none, any size.
        label: (h, w) uint8 pseudo-class of the segments, 255 = unknown.
        parameters: of regions and their weights.

    Returns:
        Targets at network size.
    """
    height, width, classes = probability.shape
    segment = resize_labels(crop_to_aspect(segment, height, width), height, width)
    label = resize_labels(crop_to_aspect(label, height, width), height, width)
    regions = region_map(image, segment, parameters)
    pooled, pixels = pool(probability.reshape(-1, classes), regions)
    if parameters.pool_segments and parameters.pseudo_label_share > 0.0:
        own = region_classes(regions, label, classes)
        share = parameters.pseudo_label_share * own.sum(axis=1, keepdims=True)
        pooled = (1.0 - share) * pooled + parameters.pseudo_label_share * own
    weight = pooled.max(axis=1) ** parameters.confidence_power
    weight[pixels == 0] = 0.0
    return RegionTargets(regions, pooled.astype(np.float16), weight)


def region_map(
    image: NDArray[np.uint8], segment: NDArray[np.uint16], parameters: DistillationParameters
) -> NDArray[np.int32]:
    """Return a region id for every pixel, (H, W) int32, contiguous from 0.

    LiDAR segments first, superpixels elsewhere; without superpixels blocks of 4 by 4 px, which
    is as fine as the targets are sampled.
    """
    height, width = segment.shape
    if parameters.pool_superpixels:
        from drive_segment_ros.perception.superpixels import felzenszwalb

        bgr = np.ascontiguousarray(image[..., ::-1])
        ((base, _),) = felzenszwalb(
            bgr, [parameters.superpixel_scale], 0.5, parameters.superpixel_min_size
        )
    else:
        rows, columns = np.arange(height) // 4, np.arange(width) // 4
        base = (rows[:, None] * -(-width // 4) + columns).astype(np.int32)
    keys = base.astype(np.int64)
    if parameters.pool_segments:
        keys = np.where(segment > 0, -segment.astype(np.int64), keys)
    _, regions = np.unique(keys, return_inverse=True)
    return regions.reshape(height, width).astype(np.int32)


def region_classes(
    regions: NDArray[np.int32], label: NDArray[np.uint8], classes: int
) -> NDArray[np.float32]:
    """Return each class's share of a region's labelled pixels, (R, K) float32; 0 without any."""
    known = label != IGNORE_LABEL
    count = int(regions.max()) + 1
    index = regions[known].astype(np.int64) * classes + label[known]
    pixels = np.bincount(index, minlength=count * classes).reshape(count, classes)
    return (pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)).astype(np.float32)
