"""A network from camera image to mask, in the form that runtimes compute fastest.

The results are the same except for rounding: operations for which OpenVINO would copy tensors to
another order of axes, or write and read them again, are expressed differently.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from offline_training.networks.decoder import MaskTransformer
from offline_training.networks.segmenter import Segmenter

# Larger factors would need too many operators: one mask per patch is upsampled sixteen times.
_LARGEST_FACTOR = 4


class DeployedSegmenter(nn.Module):
    """A network that takes a camera's image, with operators that TensorRT supports.

    TensorRT supports uint8 only at a graph's inputs and outputs, where it is cast to or from
    float.

    Args:
        network: the network.
        size: height and width, px, at which it computes; None for its input size.
        group: (K,) the group, from 0 up, that each class is merged into; None merges none.
    """

    mean: Tensor
    std: Tensor
    members: Tensor | None

    def __init__(
        self,
        network: Segmenter,
        size: tuple[int, int] | None = None,
        group: NDArray[np.integer] | None = None,
    ) -> None:
        super().__init__()
        configuration = network.configuration
        self.size = size or (configuration.height, configuration.width)
        # (G, K): a group is as probable as its classes together.
        members = None if group is None else torch.eye(int(group.max()) + 1)[:, group]
        self.register_buffer('members', members)
        self.network = copy.deepcopy(network)
        # BGR input: the weights are permuted instead of the image.
        self.register_buffer('mean', 255.0 * network.image_mean.flatten().flip(0))
        self.register_buffer('std', 255.0 * network.image_std.flatten().flip(0))
        stem = self.network.encoder.stem.modules()
        first = next(module for module in stem if isinstance(module, nn.Conv2d))
        first.weight = nn.Parameter(first.weight.flip(1))
        for parent in list(self.network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.GroupNorm):
                    setattr(parent, name, _GroupNorm(child))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment.

        Args:
            image: (1, H, W, 3) uint8 BGR.

        Returns:
            Pseudo-class and confidence (255 is certain), each (1, h, w) uint8 of `size`.
        """
        network, size = self.network, self.size
        pixels = ((image.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        patches, detail = network.encoder(average_resize(pixels, *size))
        logits = _logits(network.decoder, *network.decoder.embed(patches, detail))
        cells = (logits + network.class_offset[:, None]).softmax(dim=1)
        if self.members is not None:
            cells = self.members @ cells
        grid = (patches if detail is None else detail).shape[2:]
        label, confidence = best_class(cells.unflatten(2, grid), *size)
        return label.to(torch.uint8), (255.0 * confidence).round().to(torch.uint8)


def _logits(decoder: MaskTransformer, masks: Tensor, classes: Tensor) -> Tensor:
    """Return each class's logits, (1, K, N): the norm over classes of its cosine with the cells.

    The norm subtracts the mean and divides by the standard deviation, in which the cells' length
    cancels: with the mean subtracted from the few class embeddings, it only matters for epsilon.

    Args:
        decoder: whose norm it is.
        masks, classes: embeddings, see `MaskTransformer.embed`.
    """
    norm = decoder.mask_norm
    scores = (classes - classes.mean(dim=1, keepdim=True)) @ masks.transpose(1, 2)
    square = scores.square().mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(masks, dim=2).square().unsqueeze(1)
    scores = scores * torch.rsqrt(square + norm.eps * length)
    return scores * norm.weight[:, None] + norm.bias[:, None]


class _GroupNorm(nn.Module):
    """`nn.GroupNorm` by means over channels, which keeps the order of a convolution's axes."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (1, C, H, W)."""
        values = values - self._of_groups(values.mean(dim=(2, 3)))
        # A norm, as sums of squares may be too large for half precision.
        norm = torch.linalg.vector_norm(values, dim=(2, 3))
        variance = self._of_groups(norm * norm / (values.shape[2] * values.shape[3]))
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None, None]
        return values * scale + self.bias[:, None, None]

    def _of_groups(self, values: Tensor) -> Tensor:
        """Return the mean of each channel's group, (1, C, 1, 1), of (1, C)."""
        groups = values.unflatten(1, (self.groups, -1))
        return groups.mean(dim=2, keepdim=True).expand_as(groups).flatten(1)[..., None, None]


def average_resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize (B, C, H, W); shrinks by resizing to the next multiple and averaging.

    Training images are shrunk by area averaging, for which there is no operator.
    """
    rows, columns = -(-images.shape[2] // height), -(-images.shape[3] // width)
    multiple = height * rows, width * columns
    if images.shape[2:] != multiple:
        images = functional.interpolate(
            images, size=multiple, mode='bilinear', align_corners=False
        )
    if (rows, columns) != (1, 1):
        images = functional.avg_pool2d(images, (rows, columns))
    return images


def best_class(values: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Upsample bilinearly and return class and value of the maximum, each (1, height, width).

    Args:
        values: (1, K, h, w), of each class.
        height, width: of the result.
    """
    factor = height // values.shape[2]
    if (values.shape[2] * factor, values.shape[3] * factor) != (height, width) or (
        factor > _LARGEST_FACTOR
    ):
        values = functional.interpolate(
            values, size=(height, width), mode='bilinear', align_corners=False
        )
        factor = 1
    labels, confidences = [], []
    # All pixels at one position within their cell at a time, which stay in the processor's cache.
    between_columns = [_between(values, 3, place, factor) for place in range(factor)]
    for place in range(factor):
        for columns in between_columns:
            # TopK gives class and value in one pass.
            confidence, label = _between(columns, 2, place, factor).topk(1, dim=1)
            labels.append(label.float())
            confidences.append(confidence)
    label, confidence = (
        functional.pixel_shuffle(torch.cat(some, dim=1), factor)[:, 0]
        for some in (labels, confidences)
    )
    return label, confidence


def _between(values: Tensor, dim: int, place: int, factor: int) -> Tensor:
    """Return the interpolated values at one of `factor` positions within each cell of an axis."""
    offset = (place + 0.5) / factor - 0.5
    if offset == 0.0:
        return values
    # The neighbour in that direction; at the border, the cell itself.
    count = values.shape[dim]
    if offset < 0.0:
        parts = [values.narrow(dim, 0, 1), values.narrow(dim, 0, count - 1)]
    else:
        parts = [values.narrow(dim, 1, count - 1), values.narrow(dim, count - 1, 1)]
    weight = math.fabs(offset)
    return (1.0 - weight) * values + weight * torch.cat(parts, dim=dim)
