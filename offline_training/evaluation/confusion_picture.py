"""A picture of a confusion matrix of pseudo-classes and classes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offline_training.evaluation.evaluation import Matching


def confusion_picture(
    confusion: NDArray[np.int64], matching: Matching, names: Sequence[str]
) -> bytes:
    """Draw a confusion matrix as PNG: pseudo-classes sorted by matched class.

    Each row is shown as shares of its pixels; a frame marks the one-to-one match.
    """
    # Imported late: Matplotlib takes a second that most callers need not spend.
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    present = np.flatnonzero(confusion.sum(axis=0))
    seen = np.flatnonzero(confusion[:-1].sum(axis=1))
    order = seen[np.lexsort((-confusion[seen].sum(axis=1), matching.many_to_one[seen]))]
    counts = confusion[np.ix_(order, present)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(
        figsize=(2.5 + 0.5 * len(present), 2.0 + 0.28 * len(order)), layout='constrained'
    )
    axes = figure.subplots()
    picture = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap='Blues', aspect='auto')
    for row, number in enumerate(order):
        columns = np.flatnonzero(present == matching.one_to_one[number])
        for column in columns:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec='tab:red'))
    labels = [names[index] for index in present.tolist()]
    # Names are free text: a $ is no formula.
    axes.set_xticks(np.arange(len(present)), labels, rotation=60, ha='right', parse_math=False)
    share = 100.0 * counts.sum(axis=1) / max(confusion.sum(), 1)
    axes.set_yticks(
        np.arange(len(order)),
        [f'{number} ({part:.1f} %)' for number, part in zip(order, share, strict=True)],
    )
    axes.set(xlabel='true class', ylabel='pseudo-class (share of pixels)')
    figure.colorbar(picture, label="share of the pseudo-class's pixels")
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return buffer.getvalue()
