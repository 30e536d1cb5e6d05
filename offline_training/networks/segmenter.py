"""The complete network, from image to pseudo-class scores, and its sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from drive_segment_ros.errors import ModelError
from drive_segment_ros.perception.resizing import is_distorted
from offline_training.networks.decoder import MaskTransformer
from offline_training.networks.encoder import VisionTransformer

# ImageNet's colour statistics, which published backbones expect.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
# Longer images, as of a line camera, are distorted instead of taking all memory.
_MOST_PIXELS_OF_ITS_INPUT = 8
# Added to a logit it gives probability zero, also in half precision.
_NEVER = -1e4


@dataclasses.dataclass(frozen=True)
class NetworkConfiguration:
    """Everything that determines a network's tensors; stored with every checkpoint.

    Attributes:
        classes: number of pseudo-classes.
        height, width: input size, px, multiples of `patch`.
        embedding: channels a token.
        depth, heads: of the encoder; the decoder has one block.
        patch: pixels a patch.
        stem: `conv`, `patch` or `patch+detail`, see `VisionTransformer`.
        prefix: tokens without a place before the patches: a published backbone's class token and
            registers; none in a network that learns from scratch.
        position: what the position embedding encodes: `grid` or `rows`, see `VisionTransformer`.
        window: patches to each side that a patch sees; 0 is the whole image.
    """

    classes: int
    height: int
    width: int
    embedding: int
    depth: int
    heads: int
    patch: int = 16
    stem: str = 'conv'
    prefix: int = 0
    position: str = 'grid'
    window: int = 0

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch:
            raise ModelError(
                f'network input {self.height}x{self.width} is not a multiple of its patch '
                f'{self.patch}; choose a height and width that are multiples'
            )
        if self.stem == 'conv' and self.patch != 16:
            raise ModelError(f'a convolutional stem has patch 16, not {self.patch}')
        if self.window and self.prefix:
            raise ModelError('tokens before the patches need global attention; leave window at 0')

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height // self.patch, self.width // self.patch

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width at which to segment an image of a size, px.

        The network's own input size, unless the image has another aspect ratio: then the image's,
        in whole patches, with neither side smaller than the network's.
        """
        own = self.height, self.width
        scale = max(self.height / height, self.width / width) / self.patch
        size = round(height * scale) * self.patch, round(width * scale) * self.patch
        too_large = size[0] * size[1] > _MOST_PIXELS_OF_ITS_INPUT * self.height * self.width
        return own if too_large or not is_distorted((height, width), *own) else size

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return dataclasses.asdict(self)


# tiny can be trained on a CPU; small and base are ViT-S and ViT-B.
SIZES: dict[str, dict[str, Any]] = {
    'tiny': {'embedding': 256, 'depth': 4, 'heads': 2},
    'small': {'embedding': 384, 'depth': 12, 'heads': 6},
    'base': {'embedding': 768, 'depth': 12, 'heads': 12},
}


class Segmenter(nn.Module):
    """Vision transformer encoder and mask transformer decoder.

    Strudel et al., "Segmenter: Transformer for Semantic Segmentation", arXiv 2105.05633.
    """

    image_mean: Tensor
    image_std: Tensor
    class_offset: Tensor  # (K,), see `restrict`

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        c = configuration
        self.configuration = c
        self.encoder = VisionTransformer(
            *(c.grid, c.embedding, c.depth, c.heads, c.patch, c.stem, c.prefix),
            *(c.position, c.window),
        )
        self.decoder = MaskTransformer(
            *(c.classes, c.embedding, c.heads),
            detailed=c.stem != 'patch',
            grid=c.grid,
            window=c.window,
        )
        self.register_buffer('image_mean', torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer('image_std', torch.tensor(IMAGE_STD).view(1, 3, 1, 1))
        self.register_buffer('class_offset', torch.zeros(c.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Score every cell of the output grid.

        Args:
            images: (B, 3, H, W) float RGB, 0..1; H and W multiples of the patch.

        Returns:
            Logits (B, classes, h, w): stride 4 where the stem has detail, else one a patch.
        """
        return self.decoder(*self.encoder((images - self.image_mean) / self.image_std))

    def expect_colours(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and spread of red, green and blue, 0..1, for normalisation."""
        for buffer, values in ((self.image_mean, mean), (self.image_std, std)):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))

    def restrict(self, supported: Tensor) -> None:
        """Restrict predictions to some classes, (K,) bool: those with a pixel in training."""
        self.class_offset.copy_(torch.where(supported, 0.0, _NEVER))

    def cell_probability(self, images: Tensor) -> Tensor:
        """Return each class's probability, (B, classes, h, w), in every cell of the output grid.

        That of a class without pixels in training is zero.
        """
        return (self(images).float() + self.class_offset[:, None, None]).softmax(dim=1)

    def probability(self, images: Tensor) -> Tensor:
        """Return each class's probability, (B, classes, H, W), at the images' own size.

        Probabilities are upsampled, not logits: an exponential per cell instead of per pixel.
        The largest is the network's answer and its confidence.
        """
        return functional.interpolate(
            self.cell_probability(images),
            size=images.shape[-2:],
            mode='bilinear',
            align_corners=False,
        )


def configuration(
    size: str,
    classes: int,
    height: int,
    width: int,
    position: str = 'rows',
    window: int = 3,
    detail: bool = True,
) -> NetworkConfiguration:
    """Return the configuration of a named size, for a network that learns from scratch.

    Raises:
        ModelError: on an unknown size, or an input that is not a multiple of the patch.
    """
    if size not in SIZES:
        raise ModelError(f'unknown network size {size!r}; choose from {", ".join(SIZES)}')
    stem = 'conv' if detail else 'patch'
    return NetworkConfiguration(
        classes, height, width, stem=stem, position=position, window=window, **SIZES[size]
    )
