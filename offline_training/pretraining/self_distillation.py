"""Self-distillation: a student predicts the teacher's output from a part of the image.

DINO on class tokens (Caron et al., ICCV 2021, arXiv 2104.14294) and iBOT on masked patches (Zhou
et al., ICLR 2022, arXiv 2111.07832), with one head for both. Targets are balanced by
Sinkhorn-Knopp, as in DINOv2 (arXiv 2304.07193), not centred by a moving mean, which is effective
from the first step also with small batches.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from offline_training.networks.blocks import initialise
from offline_training.networks.segmenter import IMAGE_MEAN, IMAGE_STD, SIZES
from offline_training.training.processes import distributed_rank

PATCH = 16
_HIDDEN, _BOTTLENECK = 512, 128
_TEACHER_TEMPERATURE, _STUDENT_TEMPERATURE = 0.02, 0.1
_SINKHORN_ROUNDS = 3


class SelfDistillation(nn.Module):
    """A backbone, and the head that compares its tokens with learned prototypes.

    Args:
        size: of the backbone, see `SIZES`.
        view: side of the views it is made for, px; other images get its positions resized.
        prototypes: how many.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, size: str, view: int, prototypes: int) -> None:
        super().__init__()
        from transformers import Dinov2Config, Dinov2Model

        shape = SIZES[size]
        config = Dinov2Config(
            hidden_size=shape['embedding'],
            num_hidden_layers=shape['depth'],
            num_attention_heads=shape['heads'],
            image_size=view,
            patch_size=PATCH,
        )
        self.backbone: Any = Dinov2Model(config)
        self.head = nn.Sequential(
            nn.Linear(config.hidden_size, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, _BOTTLENECK),
            # Tokens of an untrained encoder are nearly equal: without normalisation, targets would
            # remain uniform.
            nn.BatchNorm1d(_BOTTLENECK, affine=False, track_running_stats=False),
        )
        self.head.apply(initialise)
        self.prototypes = nn.Parameter(torch.randn(prototypes, _BOTTLENECK))
        self.register_buffer('image_mean', torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer('image_std', torch.tensor(IMAGE_STD).view(1, 3, 1, 1))

    def forward(self, whole: Tensor, masked: Tensor, parts: Tensor) -> tuple[Tensor, ...]:
        """Return a student's scores.

        Args:
            whole: (V, 3, H, W) RGB 0..1, large views.
            masked: (V, N) bool, the patches of them that are hidden.
            parts: (W, 3, h, w), small views.

        Returns:
            Of the class tokens of `whole` (V, K) and `parts` (W, K), of hidden patches (M, K);
            a single one has none, (0, K).
        """
        tokens = self.tokens(whole, masked)
        small = self.tokens(parts)
        hidden = tokens[:, 1:][masked]
        return (
            self.scores(tokens[:, 0]),
            self.scores(small[:, 0]),
            # The head's statistics need two tokens.
            self.scores(hidden if len(hidden) > 1 else hidden[:0]),
        )

    def tokens(self, images: Tensor, masked: Tensor | None = None) -> Tensor:
        """Return class and patch tokens, (V, 1 + N, D)."""
        images = (images - self.image_mean) / self.image_std
        tokens: Tensor = self.backbone(images, bool_masked_pos=masked).last_hidden_state
        return tokens

    def scores(self, tokens: Tensor) -> Tensor:
        """Return the cosine of tokens (..., D) with each prototype, (..., K) float32.

        The head normalises tokens by the statistics of their batch.
        """
        # Scores that are divided by a temperature need more precision than bf16 has.
        with torch.autocast(tokens.device.type, enabled=False):
            flat = self.head(tokens.float().flatten(0, -2))
            directions = functional.normalize(flat, dim=-1)
            cosines = directions @ functional.normalize(self.prototypes, dim=-1).T
        return cosines.unflatten(0, tokens.shape[:-1])


def distillation_loss(
    answers: tuple[Tensor, ...], targets: tuple[Tensor, Tensor], masked: Tensor
) -> Tensor:
    """Return the mean of DINO's and iBOT's cross-entropy.

    Args:
        answers: of the student, see `SelfDistillation.forward`; `whole` are the first views of
            all images, then their second; `parts` as many rounds of all images.
        targets: of the teacher, see `teacher_targets`.
        masked: (V, N) bool.
    """
    whole, parts, patches = answers
    target, patch_target = targets
    first, second = target.chunk(2)
    across = _entropy(whole, torch.cat([second, first]))
    rounds = len(parts) // len(first)
    within = _entropy(parts, (0.5 * (first + second)).repeat(rounds, 1))
    by_view = (across + rounds * within) / (1 + rounds)
    if not len(patches):
        return by_view
    return 0.5 * (by_view + _entropy(patches, patch_target[masked]))


@torch.no_grad()
def teacher_targets(teacher: SelfDistillation, whole: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return a teacher's balanced targets of views, (V, K), and patches, (V, N, K); and a spread.

    The spread is the variance over the views of the unit vectors of patch tokens at the same
    position, 0..1. At 0 the encoder has collapsed to a constant output.
    """
    tokens = teacher.tokens(whole).float()
    views = balanced(teacher.scores(tokens[:, 0]))
    scores = teacher.scores(tokens[:, 1:])
    patches = balanced(scores.flatten(0, 1)).unflatten(0, scores.shape[:2])
    directions = functional.normalize(tokens[:, 1:], dim=-1)
    spread = 1.0 - directions.mean(dim=0).square().sum(dim=-1).mean()
    return views, patches, spread.item()


def balanced(scores: Tensor) -> Tensor:
    """Return soft assignments of samples to prototypes of equal total weight (Sinkhorn-Knopp).

    Args:
        scores: (N, K) cosines of this process; the weights are equal over all processes.

    Returns:
        (N, K), each row of sum 1.
    """
    shares = ((scores - 1.0) / _TEACHER_TEMPERATURE).exp()
    for _ in range(_SINKHORN_ROUNDS):
        taken = shares.sum(dim=0)
        if distributed_rank()[1] > 1:
            dist.all_reduce(taken)
        shares = shares / taken
        shares = shares / shares.sum(dim=1, keepdim=True)
    return shares


def _entropy(scores: Tensor, target: Tensor) -> Tensor:
    logs = functional.log_softmax(scores / _STUDENT_TEMPERATURE, dim=-1)
    return -(target * logs).sum(dim=-1).mean()
