"""The transformer block that encoder and decoder share, and which tokens see each other in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend; tokens and result are (B, N, width), the bias (N, N) is added to the scores."""
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if tokens.is_cuda:
            mask = None if bias is None else bias.to(query.dtype)
            mixed = functional.scaled_dot_product_attention(query, key, value, mask)
        else:
            # On a CPU with bf16 a training step takes three quarters of the fused kernel's time.
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            if bias is not None:
                scores = scores + bias.to(scores.dtype)
            mixed = scores.softmax(dim=-1).to(value.dtype) @ value
        return self.projection(mixed.transpose(1, 2).reshape(batch, count, width))


class Block(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend, then transform each token; see `Attention`."""
        tokens = tokens + self.attention(self.norm1(tokens), bias)
        return tokens + self.mlp(self.norm2(tokens))


class Neighbourhood(nn.Module):
    """Which tokens see which: a patch those around it, and nothing that knows the whole image.

    A network that learns from one street and sees all of an image at once knows the place again
    instead of the things in it: it fails on the next camera of the same car (docs/results.md).

    Args:
        grid: rows and columns of patches that the bias is kept for; it is made for others.
        window: patches to each side that a patch sees; 0 is all of them, without any bias.
        classes: number of class tokens after the patches. Patches see them; they see each other
            only, so that what a class looks like does not hang on the image.
    """

    kept: Tensor | None

    def __init__(self, grid: tuple[int, int], window: int, classes: int = 0) -> None:
        super().__init__()
        self.grid, self.window, self.classes = grid, window, classes
        # Follows from the configuration, so no file holds it.
        self.register_buffer('kept', self._bias(grid) if window else None, persistent=False)

    def forward(self, rows: int, columns: int) -> Tensor | None:
        """Return the bias (N, N) of `Attention` for patches in rows and columns."""
        if self.kept is None or (rows, columns) == self.grid:
            return self.kept
        return self._bias((rows, columns)).to(self.kept.device)

    def _bias(self, grid: tuple[int, int]) -> Tensor:
        patches = grid[0] * grid[1]
        row = torch.arange(grid[0]).repeat_interleave(grid[1])
        column = torch.arange(grid[1]).repeat(grid[0])
        apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
        unseen = torch.zeros(patches + self.classes, patches + self.classes, dtype=torch.bool)
        unseen[:patches, :patches] = apart > self.window
        unseen[patches:, :patches] = True
        # A number that half precision has, too.
        return torch.where(unseen, -1e4, 0.0)


def initialise(module: nn.Module) -> None:
    """Draw a module's weights as ViT does: truncated normal, biases zero (use with `apply`)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)
