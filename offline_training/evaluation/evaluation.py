"""Three scores of pseudo-classes against ground truth classes.

Pseudo-classes have no names, so they are first matched to classes. On one confusion matrix:
(a) strict: one-to-one by the Hungarian method; pixels of unmatched pseudo-classes are wrong;
(b) ignore_unmatched: the same matching; pixels of unmatched pseudo-classes are ignored, which is
    optimistic;
(c) many_to_one: the same matching, then every unmatched pseudo-class is assigned to the class it
    overlaps most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.resizing import resize_labels

UNMATCHED = -1


def confusion_matrix(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], pseudo_classes: int, classes: int
) -> NDArray[np.int64]:
    """Count pixels by pseudo-class and class.

    Args:
        predicted: (H, W) uint8 pseudo-class; anything from `pseudo_classes` up is unknown.
        truth: (h, w) uint8 class, 255 = unlabelled; the prediction is resized to it.
        pseudo_classes: K.
        classes: C.

    Returns:
        (K + 1, C) int64; the last row counts labelled pixels that were not predicted.
    """
    predicted = resize_labels(predicted, *truth.shape)
    labelled = truth != IGNORE_LABEL
    rows = np.minimum(predicted[labelled].astype(np.int64), pseudo_classes)
    index = rows * classes + truth[labelled]
    counts = np.bincount(index, minlength=(pseudo_classes + 1) * classes)
    return counts.reshape(pseudo_classes + 1, classes)


@dataclasses.dataclass(frozen=True)
class Matching:
    """The class assigned to each pseudo-class.

    Attributes:
        one_to_one: (K,) class, `UNMATCHED` where none is left.
        many_to_one: (K,) class; `UNMATCHED` only where a pseudo-class was never seen.
    """

    one_to_one: NDArray[np.intp]
    many_to_one: NDArray[np.intp]


def match(confusion: NDArray[np.int64]) -> Matching:
    """Match pseudo-classes to classes, maximising the correct pixels.

    Kuhn, "The Hungarian Method for the assignment problem", 1955; leftovers as in CUPS (Hahn et
    al., CVPR 2025).

    Args:
        confusion: (K + 1, C) from `confusion_matrix`; only classes that are present take part.
    """
    counts = confusion[:-1]
    present = np.flatnonzero(confusion.sum(axis=0))
    one_to_one = np.full(len(counts), UNMATCHED, np.intp)
    rows, columns = linear_sum_assignment(counts[:, present], maximize=True)
    # A pair without a common pixel is an artefact of the method, not a match.
    true_pair = counts[rows, present[columns]] > 0
    one_to_one[rows[true_pair]] = present[columns[true_pair]]
    many_to_one = one_to_one.copy()
    left = (one_to_one == UNMATCHED) & (counts.sum(axis=1) > 0)
    many_to_one[left] = counts[left].argmax(axis=1)
    return Matching(one_to_one, many_to_one)


@dataclasses.dataclass(frozen=True)
class Score:
    """One of the three scores, in percent.

    Attributes:
        miou: mean IoU over the classes of which the truth has pixels that count.
        accuracy: share of labelled pixels that are right.
        iou: (C,) IoU of each class, NaN where no pixel of it counts.
    """

    miou: float
    accuracy: float
    iou: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Scores:
    """All three scores on one confusion matrix and one matching."""

    strict: Score
    ignore_unmatched: Score
    many_to_one: Score


def score(confusion: NDArray[np.int64], matching: Matching | None = None) -> Scores:
    """Score a confusion matrix.

    Args:
        confusion: (K + 1, C) from `confusion_matrix`.
        matching: learned on another set; by default on this one.
    """
    matching = matching or match(confusion)
    strict = matched_confusion(confusion, matching.one_to_one)
    matched_only = strict.copy()
    matched_only[-1] = 0
    return Scores(
        strict=_score(strict),
        ignore_unmatched=_score(matched_only),
        many_to_one=_score(matched_confusion(confusion, matching.many_to_one)),
    )


def matched_confusion(
    confusion: NDArray[np.int64], class_of: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Sum a confusion matrix's rows by class: (C + 1, C), the last row for what has no class."""
    classes = confusion.shape[1]
    matched = np.zeros((classes + 1, classes), np.int64)
    np.add.at(matched, np.where(class_of == UNMATCHED, classes, class_of), confusion[:-1])
    matched[-1] += confusion[-1]
    return matched


def _score(matched: NDArray[np.int64]) -> Score:
    classes = matched.shape[1]
    right = np.diag(matched[:classes]).astype(np.float64)
    truth = matched.sum(axis=0)
    predicted = matched[:classes].sum(axis=1)
    present = truth > 0
    union = np.where(present, truth + predicted - right, 1)
    iou = np.where(present, 100.0 * right / union, np.nan)
    return Score(
        miou=float(iou[present].mean()) if present.any() else 0.0,
        accuracy=float(100.0 * right.sum() / max(truth.sum(), 1)),
        iou=iou,
    )


def report(scores: Scores, names: Sequence[str], pseudo_classes: int) -> dict[str, Any]:
    """Return the scores for JSON: percent, IoU by class name, classes present, K."""
    result: dict[str, Any] = {}
    for name in ('strict', 'ignore_unmatched', 'many_to_one'):
        one: Score = getattr(scores, name)
        result[name] = {
            'miou': round(one.miou, 3),
            'accuracy': round(one.accuracy, 3),
            'per_class': {
                names[index]: round(float(iou), 3)
                for index, iou in enumerate(one.iou)
                if np.isfinite(iou)
            },
        }
    result['classes_present'] = int(np.isfinite(scores.strict.iou).sum())
    result['k'] = pseudo_classes
    return result


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out reports by name as a table of text: mIoU and accuracy of each score."""
    kinds = ('strict', 'ignore_unmatched', 'many_to_one')
    width = max(len(name) for name in results) + 2
    lines = [' ' * width + ''.join(f'{kind:>24}' for kind in kinds)]
    for name, result in results.items():
        cells = (
            f'{result[kind]["miou"]:.1f} mIoU {result[kind]["accuracy"]:.1f} acc' for kind in kinds
        )
        lines.append(f'{name:<{width}}' + ''.join(f'{cell:>24}' for cell in cells))
    return '\n'.join(lines)


def class_table(result: Mapping[str, Any]) -> str:
    """Lay a report's IoU by class out as a table of text, in percent; a dash where none counts."""
    kinds = ('strict', 'ignore_unmatched', 'many_to_one')
    names = list(result['strict']['per_class'])
    width = max(len(name) for name in ('class, IoU %', *names)) + 2
    lines = [f'{"class, IoU %":<{width}}' + ''.join(f'{kind:>18}' for kind in kinds)]
    for name in names:
        values = (result[kind]['per_class'].get(name) for kind in kinds)
        cells = ('-' if value is None else f'{value:.1f}' for value in values)
        lines.append(f'{name:<{width}}' + ''.join(f'{cell:>18}' for cell in cells))
    return '\n'.join(lines)
