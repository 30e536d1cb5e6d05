"""Figures for people, and scores and confusion matrix as tables of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

PROTOCOLS = {
    'strict': 'one-to-one; what is not matched is wrong',
    'ignore_unmatched': 'the same; pixels of unmatched pseudo-classes left out, which flatters',
    'many_to_one': 'the same; leftovers go to the class they overlap most',
}


@dataclasses.dataclass(frozen=True)
class Bar:
    """A percentage that is shown as a bar with its figure."""

    percent: float


def figure(value: Any, digits: int = 1, unit: str = '') -> str:
    """Return a value for people: a dash for None, whole numbers and texts as they are."""
    if value is None:
        return '–'
    return f'{value:.{digits}f}{unit}' if isinstance(value, float) else f'{value}{unit}'


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return a table for the page; the first column are the rows' headings."""
    cells = [[cell if isinstance(cell, Bar) else figure(cell) for cell in row] for row in rows]
    return {'label': label, 'head': head, 'rows': cells}


def score_tables(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores by protocol and by class; see `evaluation.report`."""
    overview = [
        (kind, scores[kind]['miou'], scores[kind]['accuracy'], meaning)
        for kind, meaning in PROTOCOLS.items()
    ]
    per_class = [
        (name, *(_iou(scores[kind]['per_class'].get(name)) for kind in PROTOCOLS))
        for name in scores['strict']['per_class']
    ]
    heads = ('protocol', 'mIoU %', 'accuracy %', 'meaning')
    setting = (
        f'K = {scores["k"]}, {scores["classes_present"]} classes present, {scores["images"]} '
        f'images, matching learned on {scores["matching_learned_on"]}.'
    )
    return {
        'setting': setting,
        'overview': table('Scores by protocol', heads, overview),
        'per_class': table(
            'IoU by class', ('class', *(f'{kind} IoU %' for kind in PROTOCOLS)), per_class
        ),
    }


def _iou(value: float | None) -> Bar | None:
    """Return an IoU as a bar; a class of which a protocol leaves no pixel has none."""
    return None if value is None else Bar(float(value))


def confusion_table(confusion: dict[str, Any]) -> dict[str, Any]:
    """Return the confusion matrix as `columns` and `rows` of shares, matched rows together."""
    pixels = np.array(confusion['pixels'], np.int64)
    classes = confusion['classes']
    present = np.flatnonzero(pixels.sum(axis=0) + confusion['pixels_without_prediction'])
    seen = np.flatnonzero(pixels.sum(axis=1))
    place = {name: index for index, name in enumerate(classes)}
    matched = [place.get(name, len(classes)) for name in confusion['many_to_one']]
    order = sorted(seen.tolist(), key=lambda row: (matched[row], -int(pixels[row].sum())))
    total = max(int(pixels.sum()), 1)
    rows = []
    for row in order:
        counts = pixels[row][present]
        shares = (counts / max(int(counts.sum()), 1)).tolist()
        match = confusion['one_to_one'][row]
        cells = [
            {'share': share, 'framed': match == classes[column]}
            for share, column in zip(shares, present.tolist(), strict=True)
        ]
        name = f'{row} ({100.0 * int(counts.sum()) / total:.1f} %)'
        rows.append({'name': name, 'cells': cells})
    return {'columns': [str(classes[column]) for column in present], 'rows': rows}
