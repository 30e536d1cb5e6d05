"""Muon: every step of a weight matrix is an orthogonal one.

Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; scaled as in Liu et al., "Muon is
Scalable for LLM Training", arXiv 2502.16982. As `torch.optim.Muon`, which rounds to bf16 on every
device: a processor without bf16 emulates it, at twenty times the time, and sums that differ in
their last bit move its steps by a percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
# Of the quintic iteration whose slope at zero is greatest (Jordan et al.).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# A step is to change an element as much as one of AdamW does in the mean (Liu et al.).
_RMS_OF_ADAMW = 0.2


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; decoupled weight decay."""

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, weight_decay: float
    ) -> None:
        """Take matrices, or groups of them with a rate and a decay of their own."""
        super().__init__(params, {'lr': lr, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            for matrix in group['params']:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state['momentum_buffer'] = torch.zeros_like(matrix.grad)
                mean = state['momentum_buffer'].lerp_(matrix.grad, 1.0 - _MOMENTUM)
                direction = orthogonal(matrix.grad.lerp(mean, _MOMENTUM))
                rate = group['lr'] * _RMS_OF_ADAMW * max(matrix.shape) ** 0.5
                matrix.mul_(1.0 - group['lr'] * group['weight_decay'])
                matrix.add_(direction, alpha=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the nearest orthogonal matrix, by Newton-Schulz iteration.

    In bf16 on a GPU, which loses nothing; in fp32 on a processor.

    Args:
        matrix: (N, M) float.

    Returns:
        (N, M), of singular values from about 0.7 to 1.2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrix.dtype)
