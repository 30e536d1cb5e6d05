"""Mask transformer decoder: the cosine of class embedding and patch token is the class score."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from offline_training.networks.blocks import Block, Neighbourhood, initialise
from offline_training.networks.encoder import DETAIL_CHANNELS


class MaskTransformer(nn.Module):
    """Segmenter's decoder, with the detail map of the stem added to the patches if there is one.

    Without detail this is the published decoder, with scores per patch. With detail the patch
    embeddings are first upsampled to the detail map, so that edges are at the image's resolution.

    Args:
        classes: number of pseudo-classes.
        width: channels of the encoder's tokens.
        heads: attention heads.
        depth: transformer blocks over patches and class embeddings together.
        detailed: whether the encoder provides a detail map.
        grid, window: see `Neighbourhood`.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        heads: int,
        depth: int = 1,
        detailed: bool = True,
        grid: tuple[int, int] = (1, 1),
        window: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        mask_width = 128 if detailed else width
        self.projection = nn.Linear(width, width)
        self.class_embedding = nn.Parameter(torch.zeros(1, classes, width))
        self.neighbourhood = Neighbourhood(grid, window, classes)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.patch_projection = nn.Linear(width, mask_width, bias=False)
        self.class_projection = nn.Linear(width, mask_width, bias=False)
        self.detail = _DetailFusion(mask_width) if detailed else None
        self.mask_norm = nn.LayerNorm(classes)
        self.apply(initialise)
        nn.init.trunc_normal_(self.class_embedding, std=0.02)

    def forward(self, patches: Tensor, detail: Tensor | None) -> Tensor:
        """Score.

        Args:
            patches: (B, width, h, w) from the encoder.
            detail: (B, 64, h', w') from a convolutional stem, or None.

        Returns:
            Logits (B, classes, h', w'), or (B, classes, h, w) without detail.
        """
        masks, classes = self.embed(patches, detail)
        shape = (patches if detail is None else detail).shape[-2:]
        scores = functional.normalize(masks, dim=-1) @ classes.transpose(1, 2)
        return self.mask_norm(scores).transpose(1, 2).unflatten(2, shape)

    def embed(self, patches: Tensor, detail: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return embeddings of cells (B, h' * w', m) and of classes (B, classes, m), of length 1.

        `forward` computes the scores as their cosine.
        """
        rows, columns = patches.shape[-2:]
        tokens = self.projection(patches.flatten(2).transpose(1, 2))
        embedding = self.class_embedding.expand(len(patches), -1, -1).to(tokens.dtype)
        tokens = torch.cat([tokens, embedding], dim=1)
        parts = self.neighbourhood(rows, columns)
        for block in self.blocks:
            tokens = block(tokens, parts)
        tokens = self.norm(tokens)
        masks = self.patch_projection(tokens[:, : -self.classes])
        classes = functional.normalize(self.class_projection(tokens[:, -self.classes :]), dim=-1)
        if self.detail is not None and detail is not None:
            masks = masks.transpose(1, 2).unflatten(2, (rows, columns))
            masks = self.detail(masks, detail)
        return masks, classes


class _DetailFusion(nn.Module):
    """Adds the stem's detail map to upsampled patch embeddings, then mixes each neighbourhood."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(DETAIL_CHANNELS, width, 1)
        self.neighbours = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, masks: Tensor, detail: Tensor) -> Tensor:
        """Return tokens (B, h' * w', width) of masks (B, width, h, w), detail (B, 64, h', w')."""
        masks = functional.interpolate(
            masks, size=detail.shape[-2:], mode='bilinear', align_corners=False
        )
        masks = masks + self.projection(detail)
        neighbours = functional.gelu(self.neighbours(masks))
        mixed = masks + functional.conv2d(neighbours, self.mix.weight)
        # With the bias added here OpenVINO uses a convolution's own order of axes for tokens;
        # otherwise it copies this largest tensor twice.
        bias = self.mix.bias
        assert bias is not None
        return mixed.flatten(2).transpose(1, 2) + bias.to(mixed.dtype)
