"""An experiment's results as Markdown, for the experiment's folder and for the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    'pseudo_labels': 'pseudo-labels',
    'image_only': 'image-only k-means (baseline)',
    'teacher': 'teacher',
    'student': 'student',
    'truth_bound': 'trained on ground truth (bound)',
}
_COLUMNS = tuple(
    (matching, kind)
    for matching in ('scored_frames', 'training_frames')
    for kind in ('strict', 'many_to_one')
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the results of `ablate`: the setting, the scores of all seeds, the ablation."""
    parts = [_introduction(results), _scores(results)]
    without = [part for part in results['scores'] if part not in _NAMES]
    if without:
        parts.append(_ablation(results, without))
    parts.append(_spreads(results))
    if results['transfer']:
        parts.append(_transfer(results))
    return '\n'.join(parts)


def _introduction(results: Mapping[str, Any]) -> str:
    how, about = results['parameters'], results['experiment']
    return (
        f'Drive `{about["drive"]}`: trained on frames {how["frames"] or ":"}, scored on '
        f'{how["score_frames"] or ":"} ({about["images_scored"]} labelled images, '
        f'{about["classes_present"]} classes present). K = {how["label.classes"]}, features: '
        f'{about["features"]}; network `{how["train.size"]}`, {how["train.width"]} px wide, '
        f'{how["train.training.epochs"]} epochs each; version {about["version"]}. mIoU / accuracy '
        'in percent, with the matching fitted on the scored frames, then with the one fitted on '
        'the training frames.\n'
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


def _ablation(results: Mapping[str, Any], without: list[str]) -> str:
    lines = [
        '| means | over superpixels | over LiDAR segments | rare objects pasted '
        '| strict | many-to-one | strict, training matching | many-to-one, training matching '
        '| strict mIoU by seed |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for part in ('teacher', 'student', *without):
        entry = results['scores'][part]
        by_seed = (f'{scores["scored_frames"]["strict"]["miou"]:.1f}' for scores in entry['seeds'])
        name = 'teacher' if part == 'teacher' else 'student'
        has = _has(part, results['parameters'])
        lines.append(_row([name, *has, *_cells(entry['mean']), ', '.join(by_seed)]))
    return '\n'.join(lines) + '\n'


def _spreads(results: Mapping[str, Any]) -> str:
    """Return the scores of the scored frames with their intervals, beside those of classes that
    are not rare."""
    kinds = ('strict', 'many_to_one')
    frequent = results['scores']['student']['seeds'][0]['scored_frames']['frequent']
    lines = [
        'Means of the seeds with 95 % bootstrap intervals over images, for all classes present '
        f'and for the {frequent:.0f} frequent ones with at least 0.05 % of the pixels:\n',
        '| | strict | many-to-one | strict, frequent | many-to-one, frequent |',
        '|---|---|---|---|---|',
    ]
    for part, name in _NAMES.items():
        scores = results['scores'][part]['mean']['scored_frames']
        cells = [_within(scores[kind]['miou'], scores[kind]['interval']) for kind in kinds]
        cells += [
            _within(scores[kind]['frequent_miou'], scores[kind]['frequent_interval'])
            for kind in kinds
        ]
        lines.append(_row([name, *cells]))
    return '\n'.join(lines) + '\n'


def _transfer(results: Mapping[str, Any]) -> str:
    lines = [
        'On images not used in training, strict and many-to-one mIoU:\n',
        '| | seeds | strict | many-to-one | strict, frequent | many-to-one, frequent |',
        '|---|---|---|---|---|---|',
    ]
    for name, parts in results['transfer'].items():
        for part, entry in parts.items():
            means = entry['mean']['scored_frames']
            lines.append(
                _row(
                    [
                        f'{name}: {_NAMES[part]}',
                        str(len(entry['seeds'])),
                        *(f'{means[kind]["miou"]:.1f}' for kind in ('strict', 'many_to_one')),
                        *(
                            f'{means[kind]["frequent_miou"]:.1f}'
                            for kind in ('strict', 'many_to_one')
                        ),
                    ]
                )
            )
    return '\n'.join(lines) + '\n'


def _within(miou: float, interval: list[float]) -> str:
    return f'{miou:.1f} ({interval[0]:.1f} to {interval[1]:.1f})'


def _has(part: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return which components a student was trained with, one cell per column."""
    if part == 'teacher':
        return ['', '', '']
    distillation, training = 'train.distillation.', 'train.training.'
    columns: dict[tuple[str, ...], bool] = {
        ('without_superpixels', 'without_either'): parameters[distillation + 'pool_superpixels'],
        ('without_segments', 'without_either'): parameters[distillation + 'pool_segments'],
        ('without_pasting',): parameters[training + 'augmentation.paste'] > 0.0,
    }
    return ['yes' if on and part not in left_out else 'no' for left_out, on in columns.items()]


def _cells(scores: Mapping[str, Any]) -> list[str]:
    chosen = (scores[matching][kind] for matching, kind in _COLUMNS)
    return [f'{one["miou"]:.1f} / {one["accuracy"]:.1f}' for one in chosen]


def _row(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'
