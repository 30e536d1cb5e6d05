"""The head of the page: training data, network, and the main scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from offline_training.report.class_gallery import Gallery
from offline_training.report.figures import counted, figure, listed, percentage
from offline_training.report.frames import SampleFrame
from offline_training.report.learned_from import ShownFrame
from offline_training.report.scores import Scored, verdict
from offline_training.report.sources import HELD_OUT, LEARNED_FROM, Sources
from offline_training.training.run_folder import shared_fingerprint


@dataclasses.dataclass(frozen=True)
class Overview:
    """The head of the page.

    Attributes:
        sentences: on training data, network and scores.
        tiles: figures with their names.
        warnings: limits of what the page's figures show.
    """

    sentences: list[str]
    tiles: dict[str, str]
    warnings: list[str]


def overview(
    sources: Sources,
    run: dict[str, Any],
    shown: Sequence[ShownFrame],
    samples: Sequence[SampleFrame],
    classes: Gallery | None,
    scored: Scored,
) -> Overview:
    """Return the head of the page.

    Args:
        sources: of the report.
        run: `run.json`, empty if there is none.
        shown: all frames of all drives.
        samples: the frames drawn.
        classes: the pseudo-classes.
        scored: the scores.
    """
    learned, held_out = (
        [frame for frame in shown if frame.role == role] for role in (LEARNED_FROM, HELD_OUT)
    )
    sentences = _learned(run, learned, classes)
    if held_out:
        sentences.append(f'Held out: {_amount(held_out)}.')
    sentences += filter(None, [verdict(scored)])
    repeated = _repeated(samples)
    if repeated is not None and not scored.student:
        sentences.append(
            f'On the held-out frames below, the student predicts the pseudo-label of '
            f'{percentage(repeated)} of the labelled pixels.'
        )
    return Overview(
        sentences,
        _tiles(sources, learned, repeated, classes, scored),
        _warnings(sources, run, learned, held_out),
    )


def _learned(
    run: dict[str, Any], learned: Sequence[ShownFrame], classes: Gallery | None
) -> list[str]:
    parameters = run.get('parameters') or {}
    size = parameters.get('size')
    what = f'a {size} network' if size else 'a network'
    if run.get('input'):
        height, width = run['input']
        what += f' (input {width} × {height} px)'
    told = []
    if learned:
        told.append(f'Trained on {_amount(learned)}, without manual labels: {what}')
    elif run:
        told.append(f'Trained without manual labels: {what}')
    if told and classes:
        by = f', clustered by {classes.features} features' if classes.features else ''
        number = counted(len(classes.entries), 'pseudo-class', 'pseudo-classes')
        told[0] += f' for {number}{by}'
    return [f'{one}.' for one in told]


def _amount(frames: Sequence[ShownFrame]) -> str:
    drives = list(dict.fromkeys(frame.drive.name for frame in frames))
    cameras = list(dict.fromkeys(frame.record.camera for frame in frames))
    where = 'drive' if len(drives) == 1 else f'{len(drives)} drives'
    seen = f', camera {cameras[0]}' if len(cameras) == 1 else f', {len(cameras)} cameras'
    return f'{counted(len(frames), "frame")} of {where} {listed(drives)}{seen}'


def _repeated(samples: Sequence[SampleFrame]) -> float | None:
    """Return the share of labelled pixels of held-out frames that the student predicts equally."""
    held_out = [sample for sample in samples if sample.role == HELD_OUT]
    known = sum(sample.known for sample in held_out)
    return sum(sample.repeated for sample in held_out) / known if known else None


def _tiles(
    sources: Sources,
    learned: Sequence[ShownFrame],
    repeated: float | None,
    classes: Gallery | None,
    scored: Scored,
) -> dict[str, str]:
    tiles: dict[str, str] = {}
    if scored.student:
        strict, many = scored.student['strict'], scored.student['many_to_one']
        tiles['mIoU, strict'] = figure(float(strict['miou']), 1, ' %')
        tiles['mIoU, many-to-one'] = figure(float(many['miou']), 1, ' %')
        tiles['pixel accuracy, strict'] = figure(float(strict['accuracy']), 1, ' %')
        if scored.baseline:
            value = float(scored.baseline['strict']['miou'])
            tiles['mIoU of the baseline, strict'] = figure(value, 1, ' %')
    elif repeated is not None:
        tiles['agreement with held-out pseudo-labels'] = percentage(repeated)
    if learned:
        tiles['training frames'] = figure(len(learned))
    if classes:
        tiles['pseudo-classes'] = figure(len(classes.entries))
    for step in sources.steps:
        latency = step.result.get('latency_median_ms')
        if step.name == 'live' and isinstance(latency, int | float):
            tiles['image to mask, live'] = figure(float(latency), 0, ' ms')
    return tiles


def _warnings(
    sources: Sources,
    run: dict[str, Any],
    learned: Sequence[ShownFrame],
    held_out: Sequence[ShownFrame],
) -> list[str]:
    warnings = []
    if learned and not held_out:
        warnings.append(
            'All frames below are training frames, so the pictures are optimistic. Add a held-out '
            'drive with --held-out, or train with --frames.'
        )
    known = learned and run.get('data') and not sources.steps
    if known and shared_fingerprint([frame.record for frame in learned]) != run['data']:
        warnings.append(
            'The frames or pseudo-labels of --dataset are not those that this run was trained on: '
            'other data, or labelled again since. Training frames are identified by the --frames '
            'of the run, which may be wrong here.'
        )
    return warnings
