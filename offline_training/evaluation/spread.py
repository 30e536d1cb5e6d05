"""Uncertainty of scores: bootstrap intervals over images, and scores of frequent classes.

A class of a few hundred pixels, perhaps one person in one image, has the same weight in a mean IoU
as the road.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_training.evaluation.evaluation import Matching, score

FREQUENT_SHARE = 5e-4
_DRAWS, _QUANTILES = 500, (0.025, 0.975)
_KINDS = ('strict', 'many_to_one')


def frequent_classes(confusion: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which classes have at least 0.05 % of the labelled pixels, (C,)."""
    pixels = confusion.sum(axis=0)
    return pixels >= FREQUENT_SHARE * max(pixels.sum(), 1)


def spread(counts: NDArray[np.int64], matching: Matching) -> dict[str, Any]:
    """Return mean IoUs with 95 % bootstrap intervals over images.

    Efron, "Bootstrap methods: another look at the jackknife", 1979. The matching is not refitted.

    Args:
        counts: (N, K + 1, C) pixels of each image, as of `confusion_matrix`.
        matching: of pseudo-classes to classes.

    Returns:
        `strict` and `many_to_one`, each with `interval` (two mIoUs in percent, over all classes
        present) and, over frequent classes, `frequent_miou` and `frequent_interval`; and
        `frequent`, the number of frequent classes.
    """
    whole = counts.sum(axis=0)
    frequent = frequent_classes(whole)
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), _DRAWS)
    figures = np.array(
        [_mious(np.tensordot(times, counts, axes=1), matching, frequent) for times in drawn]
    )
    own = _mious(whole, matching, frequent)
    low, high = np.quantile(figures, _QUANTILES, axis=0)
    result: dict[str, Any] = {'frequent': int(frequent.sum())}
    for index, kind in enumerate(_KINDS):
        result[kind] = {
            'interval': [round(float(end[index, 0]), 3) for end in (low, high)],
            'frequent_miou': round(float(own[index, 1]), 3),
            'frequent_interval': [round(float(end[index, 1]), 3) for end in (low, high)],
        }
    return result


def _mious(
    confusion: NDArray[np.int64], matching: Matching, frequent: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return mIoU over all classes present and over frequent ones, (kinds, 2)."""
    scores = score(confusion, matching)
    figures = []
    for kind in _KINDS:
        iou = getattr(scores, kind).iou
        chosen = iou[frequent & np.isfinite(iou)]
        figures.append([getattr(scores, kind).miou, chosen.mean() if len(chosen) else 0.0])
    return np.array(figures)
