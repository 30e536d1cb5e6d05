"""Vision transformer encoder with a patch stem or a convolutional stem."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from offline_training.networks.blocks import Block, Neighbourhood, initialise

# Pixels per cell of the stem's finest map: fine enough for poles and kerbs at 288x512.
DETAIL_STRIDE = 4
DETAIL_CHANNELS = 64


class PatchStem(nn.Module):
    """One linear map per patch, as in ViT, and optionally the detail map of `ConvStem`."""

    def __init__(self, width: int, patch: int, detailed: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, patch)
        self.fine = nn.Sequential(*_fine()) if detailed else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return patches (B, width, H / patch, W / patch) of (B, 3, H, W), and detail or None."""
        return self.projection(images), None if self.fine is None else self.fine(images)


class ConvStem(nn.Module):
    """Strided convolutions down to stride 16, which need fewer training images than a patch stem.

    Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021, arXiv 2106.14881.
    Group norm instead of batch norm, so that an image's result does not depend on its batch.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(*_fine())
        self.coarse = nn.Sequential(
            *_downscale(DETAIL_CHANNELS, 128), *_downscale(128, 256), nn.Conv2d(256, width, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches (B, width, H / 16, W / 16) and detail (B, 64, H / 4, W / 4)."""
        detail = self.fine(images)
        return self.coarse(detail), detail


class VisionTransformer(nn.Module):
    """Image to patch tokens.

    Args:
        grid: rows and columns of patches the position embedding is made for; other inputs get it
            resized.
        width: channels a token.
        depth: number of transformer blocks.
        heads: attention heads a block.
        patch: pixels a patch, in both directions.
        stem: `conv` (patch 16 only), `patch`, or `patch+detail`: with a detail map.
        prefix: tokens without a position before the patches: a class token, registers; only
            where a patch sees the whole image.
        position: what the position embedding encodes: the position on the `grid`, or only the row
            (`rows`). Low rows are near in every camera, whereas columns differ between cameras.
        window: patches to each side that a patch sees, 0 is all; see `Neighbourhood`.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        width: int,
        depth: int,
        heads: int,
        patch: int = 16,
        stem: str = 'conv',
        prefix: int = 0,
        position: str = 'grid',
        window: int = 0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.width = width
        self.patch = patch
        self.stem: nn.Module = (
            ConvStem(width)
            if stem == 'conv'
            else PatchStem(width, patch, detailed=stem == 'patch+detail')
        )
        self.places = grid if position == 'grid' else (grid[0], 1)
        self.position = nn.Parameter(torch.zeros(1, self.places[0] * self.places[1], width))
        self.neighbourhood = Neighbourhood(grid, window)
        # A class token's position is part of its value.
        self.prefix = nn.Parameter(torch.zeros(1, prefix, width)) if prefix else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(initialise)
        nn.init.trunc_normal_(self.position, std=0.02)
        if self.prefix is not None:
            nn.init.trunc_normal_(self.prefix, std=0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode.

        Args:
            images: (B, 3, H, W), normalised; H and W multiples of the patch.

        Returns:
            Tokens (B, width, H / patch, W / patch) and the stem's detail map or None.
        """
        patches, detail = self.stem(images)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2) + self._position(rows, columns)
        if self.prefix is not None:
            prefix = self.prefix.expand(len(images), -1, -1).to(tokens.dtype)
            tokens = torch.cat([prefix, tokens], dim=1)
        parts = self.neighbourhood(rows, columns)
        for block in self.blocks:
            tokens = block(tokens, parts)
        tokens = self.norm(tokens[:, -rows * columns :])
        return tokens.transpose(1, 2).unflatten(2, (rows, columns)), detail

    def _position(self, rows: int, columns: int) -> Tensor:
        position: Tensor = self.position
        places = rows, columns if self.places[1] > 1 else 1
        if places != self.places:
            position = resized_position(position, self.places, places)
        if places[1] < columns:
            position = position.repeat_interleave(columns, dim=1)
        return position


def resized_position(position: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize a position embedding (1, rows * columns, width) to another grid, bicubically."""
    grid = position.transpose(1, 2).unflatten(2, old)
    grid = functional.interpolate(grid, size=new, mode='bicubic', align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _fine() -> list[nn.Module]:
    return [*_downscale(3, 32), *_downscale(32, DETAIL_CHANNELS)]


def _downscale(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(8, channels_out),
        nn.GELU(),
    ]
