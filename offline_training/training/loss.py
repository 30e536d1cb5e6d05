"""The loss: cross-entropy with soft targets, over the pixels of all processes."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from offline_training.training.processes import distributed_rank


def soft_cross_entropy(logits: Tensor, probability: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of all processes' pixels.

    Args:
        logits: (B, K, h', w') float; resized to the target's grid where that differs.
        probability: (B, K, h, w) target distribution.
        weight: (B, h, w), 0 where unknown.
    """
    logits = logits.float()
    if logits.shape[-2:] != probability.shape[-2:]:
        logits = functional.interpolate(
            logits, size=probability.shape[-2:], mode='bilinear', align_corners=False
        )
    entropy = -(probability.float() * functional.log_softmax(logits, dim=1)).sum(dim=1)
    total = weight.sum()
    _, world = distributed_rank()
    if world > 1:
        # DDP averages gradients over processes, whose numbers of known pixels differ.
        dist.all_reduce(total)
        total = total / world
    return (weight * entropy).sum() / total.clamp(min=1.0)


def mean_over_processes(loss: Tensor) -> float:
    """Return the mean of a number over all processes."""
    value = loss.detach().clone()
    _, world = distributed_rank()
    if world > 1:
        dist.all_reduce(value)
        value /= world
    return value.item()
