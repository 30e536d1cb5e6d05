"""An experiment's results as Markdown: what the docs show is written here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    'pseudo_labels': 'pseudo-labels',
    'image_only': 'image only, k-means',
    'teacher': 'teacher',
    'student': 'student',
    'truth_bound': 'trained on the truth, the bound',
}
_STUDENTS = (
    'student',
    'without_superpixels',
    'without_segments',
    'without_either',
    'without_likeness',
)
_COLUMNS = tuple(
    (matching, kind)
    for matching in ('scored_frames', 'training_frames')
    for kind in ('strict', 'many_to_one')
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return what `ablate` found: how it was made, the scores of all seeds, the ablation."""
    parts = [_introduction(results), _scores(results)]
    if any(name in results['scores'] for name in _STUDENTS[1:]):
        parts.append(_ablation(results))
    return '\n'.join(parts)


def _introduction(results: Mapping[str, Any]) -> str:
    how, about = results['parameters'], results['experiment']
    return (
        f'Drive `{about["drive"]}`: learned on frames {how["frames"] or ":"}, scored on '
        f'{how["score_frames"] or ":"} ({about["images_scored"]} labelled images, '
        f'{about["classes_present"]} classes present). K = {how["label.classes"]}, features: '
        f'{about["features"]}; network `{how["train.size"]}`, {how["train.width"]} px wide, '
        f'{how["train.training.epochs"]} epochs each; version {about["version"]}. mIoU / accuracy '
        'in percent, by the matching learned on the scored frames, then by the one learned on the '
        'training frames.\n'
    )


def _scores(results: Mapping[str, Any]) -> str:
    lines = [
        '| | seed | strict | many-to-one | strict, training matching '
        '| many-to-one, training matching |',
        '|---|---|---|---|---|---|',
    ]
    for part, name in _NAMES.items():
        entry = results['scores'][part]
        for seed, scores in enumerate(entry['seeds']):
            lines.append(_row([name if seed == 0 else '', str(seed), *_cells(scores)]))
        if len(entry['seeds']) > 1:
            means = [f'**{cell}**' for cell in ('mean', *_cells(entry['mean']))]
            lines.append(_row(['', *means]))
    return '\n'.join(lines) + '\n'


def _ablation(results: Mapping[str, Any]) -> str:
    lines = [
        '| means | over superpixels | over LiDAR segments | like classes together | strict '
        '| many-to-one | strict, training matching | many-to-one, training matching '
        '| strict mIoU by seed |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for part in ('teacher', *_STUDENTS):
        parameters = results['parameters']
        pooled = ['', ''] if part == 'teacher' else _pooled(part, parameters)
        least_risk = parameters['train.training.answer'] == 'least_risk'
        together = 'yes' if least_risk and part != 'without_likeness' else 'no'
        entry = results['scores'][part]
        by_seed = (f'{scores["scored_frames"]["strict"]["miou"]:.1f}' for scores in entry['seeds'])
        name = 'teacher' if part == 'teacher' else 'student'
        cells = [name, *pooled, together, *_cells(entry['mean']), ', '.join(by_seed)]
        lines.append(_row(cells))
    return '\n'.join(lines) + '\n'


def _pooled(part: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return whether a student's targets were averaged over superpixels, and over segments."""
    left_out = {
        'pool_superpixels': part in ('without_superpixels', 'without_either'),
        'pool_segments': part in ('without_segments', 'without_either'),
    }
    return [
        'yes' if parameters[f'train.distillation.{name}'] and not left else 'no'
        for name, left in left_out.items()
    ]


def _cells(scores: Mapping[str, Any]) -> list[str]:
    chosen = (scores[matching][kind] for matching, kind in _COLUMNS)
    return [f'{one["miou"]:.1f} / {one["accuracy"]:.1f}' for one in chosen]


def _row(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'
