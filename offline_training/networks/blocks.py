"""The transformer block of encoder and decoder, with local attention."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Part:
    """Some tokens and the tokens they attend to.

    Attributes:
        queries: the tokens.
        keys: the tokens that any of them attends to.
        bias: (queries, keys), added to the scores.
    """

    queries: slice
    keys: tuple[slice, ...]
    bias: Tensor


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor, parts: list[Part] | None = None) -> Tensor:
        """Attend; tokens and result are (B, N, width); without parts attention is global."""
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if parts is None:
            mixed = _mix(query, key, value)
        else:
            mixed = torch.cat([_mix_part(query, key, value, part) for part in parts], dim=2)
        return self.projection(mixed.transpose(1, 2).reshape(batch, count, width))


def _mix_part(query: Tensor, key: Tensor, value: Tensor, part: Part) -> Tensor:
    keys, values = (torch.cat([x[:, :, k] for k in part.keys], dim=2) for x in (key, value))
    return _mix(query[:, :, part.queries], keys, values, part.bias)


def _mix(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the attended values of queries, each (B, heads, N, channels)."""
    if query.is_cuda:
        mask = None if bias is None else bias.to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, mask)
    # On a CPU with bf16 this is faster in training than the fused kernel.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.softmax(dim=-1).to(value.dtype) @ value


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

    def forward(self, tokens: Tensor, parts: list[Part] | None = None) -> Tensor:
        """Attend, then transform each token; see `Attention`."""
        tokens = tokens + self.attention(self.norm1(tokens), parts)
        return tokens + self.mlp(self.norm2(tokens))


# Rows of a block, in windows: fewer waste less computation, more need fewer products.
_ROWS = 2


class Neighbourhood(nn.Module):
    """The attention pattern: a patch attends to its neighbourhood only.

    A network with global attention that is trained on one street learns the place instead of the
    objects, and fails on the next camera of the same car (docs/research_log.md). Patches are
    processed in blocks of rows with the rows that these attend to, so that products of distant
    patches are not computed.

    Args:
        grid: rows and columns of patches for which the bias is stored; for others it is computed.
        window: patches to each side that a patch sees; 0 is all of them, without any bias.
        classes: number of class tokens after the patches. Patches see them; they see each other
            only, so that class embeddings do not depend on the image.
    """

    kept: Tensor | None

    def __init__(self, grid: tuple[int, int], window: int, classes: int = 0) -> None:
        super().__init__()
        self.grid, self.window, self.classes = grid, window, classes
        # Follows from the configuration, so it is not stored in checkpoints.
        self.register_buffer('kept', self._bias(grid) if window else None, persistent=False)

    def forward(self, rows: int, columns: int) -> list[Part] | None:
        """Return the parts of `Attention` for patches in rows and columns."""
        if self.kept is None:
            return None
        bias = self.kept
        if (rows, columns) != self.grid:
            bias = self._bias((rows, columns)).to(bias.device)
        patches = rows * columns
        classes = (slice(patches, patches + self.classes),) if self.classes else ()
        parts = []
        for first in range(0, rows, _ROWS * self.window):
            end = min(first + _ROWS * self.window, rows)
            top, bottom = max(first - self.window, 0), min(end + self.window, rows)
            queries = slice(first * columns, end * columns)
            keys = (slice(top * columns, bottom * columns), *classes)
            seen = torch.cat([bias[queries, one] for one in keys], dim=1)
            parts.append(Part(queries, keys, seen))
        return parts + [Part(one, (one,), bias[one, one]) for one in classes]

    def _bias(self, grid: tuple[int, int]) -> Tensor:
        patches = grid[0] * grid[1]
        row = torch.arange(grid[0]).repeat_interleave(grid[1])
        column = torch.arange(grid[1]).repeat(grid[0])
        apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
        unseen = torch.zeros(patches + self.classes, patches + self.classes, dtype=torch.bool)
        unseen[:patches, :patches] = apart > self.window
        unseen[patches:, :patches] = True
        # Representable in half precision.
        return torch.where(unseen, -1e4, 0.0)


def initialise(module: nn.Module) -> None:
    """Initialise a module's weights like ViT: truncated normal, zero biases (use with `apply`)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)
