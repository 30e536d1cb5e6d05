"""The scores of `evaluate` and `ablate`: the student with baseline and bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.storage import is_there
from offline_training.common.classes import ClassName
from offline_training.common.files import read_json
from offline_training.report.figures import Bar, counted, figure, table
from offline_training.report.sources import RESULTS_FILE, Sources

PROTOCOLS = {
    'strict': 'Each class is matched with at most one pseudo-class; all others count as wrong.',
    'many_to_one': (
        'As strict, then each unmatched pseudo-class is assigned to the class it overlaps most.'
    ),
    'ignore_unmatched': (
        'As strict, but pixels of unmatched pseudo-classes are ignored, which is optimistic.'
    ),
}
STUDENT, IMAGE_ONLY, BOUND = 'student', 'image-only clustering', 'trained on ground truth'
# How `ablate` names its parts, in the order in which they are shown.
_PARTS = {
    'student': STUDENT,
    'teacher': 'teacher',
    'pseudo_labels': 'pseudo-labels themselves',
    'image_only': IMAGE_ONLY,
    'truth_bound': BOUND,
}
_FIGURES = (('strict', 'miou'), ('strict', 'accuracy'), ('many_to_one', 'miou'))
_MANY_ACCURACY = ('many_to_one', 'accuracy')
_HEAD = ('', 'mIoU %, strict', 'pixels right %, strict', 'mIoU %, many-to-one')
_HEAD_MANY = 'pixels right %, many-to-one'


@dataclasses.dataclass(frozen=True)
class Scored:
    """Content of the folders of scores.

    Attributes:
        student, baseline: `scores.json`, None where there is none.
        confusion: `confusion.json` of the student.
        experiment: `results.json` of `ablate`.
    """

    student: Any = None
    baseline: Any = None
    confusion: Any = None
    experiment: Any = None

    @staticmethod
    def read(sources: Sources) -> Scored:
        """Read them.

        Raises:
            DatasetError: if a file is damaged.
        """

        def content(folder: Path | None, name: str) -> Any:
            return read_if_there(folder / name) if folder else None

        return Scored(
            content(sources.scores, 'scores.json'),
            content(sources.baseline, 'scores.json'),
            content(sources.scores, 'confusion.json'),
            content(sources.experiment, RESULTS_FILE),
        )


def read_if_there(path: Path) -> Any:
    """Return a JSON file's content, None if there is none.

    Raises:
        DatasetError: if it cannot be read, or is damaged.
    """
    return read_json(path) if is_there(path) else None


def scores_section(scored: Scored, learned: set[str] | None) -> dict[str, Any] | None:
    """Return the scores for the page.

    Args:
        scored: the scores.
        learned: names of the training images, see `image_name`; None if unknown.
    """
    tables = []
    if scored.student:
        rows = {STUDENT: scored.student}
        if scored.baseline:
            rows[IMAGE_ONLY] = scored.baseline
        tables.append(_overview('Scores', rows))
    if scored.experiment:
        tables.append(_experiment(scored.experiment))
    if not tables:
        return None
    content: dict[str, Any] = {
        'tables': tables,
        'protocols': {name.replace('_', '-'): meaning for name, meaning in PROTOCOLS.items()},
        'per_class': None,
        'setting': '',
        'verdict': verdict(scored),
        'overlap': None,
    }
    if scored.student:
        content['setting'] = _setting(scored.student)
        content['overlap'] = overlap(scored.confusion, learned)
        content['per_class'] = _per_class(scored.student, scored.baseline)
    return content


def verdict(scored: Scored) -> str:
    """Return the scores in one sentence."""
    student, baseline = scored.student, scored.baseline
    if not student:
        return ''
    told = f'{figure(float(student["strict"]["miou"]))} % mIoU of the student'
    if baseline:
        told += f', {figure(float(baseline["strict"]["miou"]))} % of {IMAGE_ONLY}'
    bound = ((scored.experiment or {}).get('scores') or {}).get('truth_bound')
    if bound:
        value = float(bound['mean']['scored_frames']['strict']['miou'])
        told += f', {figure(value)} % of the same network {BOUND}'
    return f'{told} (strict matching).'


def overlap(confusion: Any, learned: set[str] | None) -> dict[str, Any]:
    """Return whether the scored frames are held out.

    Returns:
        `good`, None where it is not known, and `text`.
    """
    names = (confusion or {}).get('images')
    if not names or learned is None:
        return {
            'good': None,
            'text': 'Whether the scored frames were used in training is not known; pass the data '
            'with --dataset, and score again with `drive-segment evaluate`.',
        }
    both = len(learned & set(names))
    if both:
        return {
            'good': False,
            'text': f'{both} of the {counted(len(names), "scored frame")} were used in training: '
            'these scores are optimistic. Score held-out frames with `evaluate --frames`.',
        }
    return {
        'good': True,
        'text': f'None of the {counted(len(names), "scored frame")} was used in training.',
    }


def _setting(scores: dict[str, Any]) -> str:
    return (
        f'{counted(scores["images"], "labelled image")}, '
        f'{counted(scores["classes_present"], "class", "classes")} present, '
        f'{counted(scores["k"], "pseudo-class", "pseudo-classes")}; the matching of '
        f'pseudo-classes to classes was fitted on {scores["matching_learned_on"]}.'
    )


def _overview(label: str, rows: dict[str, Any]) -> dict[str, Any]:
    return table(
        label,
        (*_HEAD, _HEAD_MANY),
        [
            (name, *(float(values[kind][what]) for kind, what in (*_FIGURES, _MANY_ACCURACY)))
            for name, values in rows.items()
        ],
    )


def _experiment(results: dict[str, Any]) -> dict[str, Any]:
    rows = {
        name: results['scores'][part]['mean']['scored_frames']
        for part, name in _PARTS.items()
        if part in results['scores']
    }
    experiment = results['experiment']
    seeds = len(next(iter(results['scores'].values()))['seeds'])
    label = (
        f'Experiment on {counted(experiment["images_scored"], "held-out frame")} of '
        f'{experiment["drive"]}, mean of {counted(seeds, "seed")}'
    )
    return _overview(label, rows)


def _per_class(student: dict[str, Any], baseline: Any) -> dict[str, Any]:
    head = ['class', 'many-to-one', 'strict']
    if baseline:
        head.append('many-to-one, image alone')

    def row(name: str) -> Sequence[Any]:
        cells = [_iou(student[kind]['per_class'].get(name)) for kind in ('many_to_one', 'strict')]
        if baseline:
            cells.append(_iou(baseline['many_to_one']['per_class'].get(name)))
        return (name, *cells)

    return table('IoU by class', head, [row(name) for name in student['strict']['per_class']])


def _iou(value: float | None) -> Bar | None:
    """Return an IoU as a bar; None for a class without pixels under a protocol."""
    return None if value is None else Bar(float(value))


def confusion_table(confusion: dict[str, Any], names: Sequence[ClassName]) -> dict[str, Any]:
    """Return the confusion matrix as `columns` and `rows` of shares, matched rows together.

    Args:
        confusion: `confusion.json`.
        names: of the pseudo-classes; unused if their number differs.
    """
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
            {
                'share': share,
                'framed': match == classes[column],
                'told': f'{count:,} pixels of {row} are {classes[column]}',
            }
            for share, count, column in zip(shares, counts.tolist(), present.tolist(), strict=True)
        ]
        name = names[row].name if len(names) == len(pixels) else ''
        share = int(counts.sum()) / total
        rows.append({'number': row, 'name': name, 'share': share, 'cells': cells})
    return {'columns': [str(classes[column]) for column in present], 'rows': rows}
