"""The report: what its sections say, gathered; `page.html.j2` lays them out."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from offline_training.common.files import write_atomic
from offline_training.report import facts
from offline_training.report.chart import line_chart
from offline_training.report.figures import confusion_table, figure, score_tables, table
from offline_training.report.frames import live_pictures, sample_frames
from offline_training.report.page import page
from offline_training.report.sources import Sources

# What makes no sense in files of others raises one of these where it is read.
_SENSELESS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_WHY_MISSING = {
    'frames': 'No frames: name the dataset with --dataset.',
    'gallery': (
        'No pseudo-classes: run `drive-segment label` on the dataset, and name it with --dataset.'
    ),
    'scores': (
        'Not scored: `drive-segment evaluate RUN IMAGES --ground-truth LABELS -o RUN/scores` '
        'needs labelled images.'
    ),
    'confusion': 'Not scored, so there is none.',
    'training': 'Nothing was trained: `drive-segment train DATASET -o RUN`.',
    'synchronisation': 'The dataset is not at hand: name it with --dataset.',
    'live': 'There was no live run; `drive-segment demo` has one.',
    'steps': 'Not known of a run by itself; `drive-segment demo` notes them.',
    'configuration': 'Not known.',
}


def write_report(sources: Sources, output: Path) -> dict[str, Any]:
    """Write the page.

    Args:
        sources: what to report of.
        output: the HTML file.

    Returns:
        `report` (path), `bytes`, `frames` (shown), `missing` (headings of sections without
        content).

    Raises:
        DatasetError, ModelError: if something that is there cannot be read.
    """
    frames = sample_frames(sources)
    scores, confusion = (
        facts.read_if_there(sources.scores / name) if sources.scores else None
        for name in ('scores.json', 'confusion.json')
    )
    sections = [
        _section('frames', 'Frames through all stages', lambda: frames),
        _section('gallery', 'Pseudo-classes', lambda: facts.gallery(sources)),
        _section('scores', 'Scores', lambda: scores and score_tables(scores)),
        _section(
            'confusion', 'Confusion matrix', lambda: confusion and confusion_table(confusion)
        ),
        _section('training', 'Training', lambda: _training(sources)),
        _section(
            'synchronisation', 'Recording and synchronisation', lambda: _synchronisation(sources)
        ),
        _section('live', 'Live', lambda: _live(sources)),
        _section('steps', 'Steps and timings', lambda: _steps(sources)),
        _section('configuration', 'Configuration and versions', lambda: _configuration(sources)),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    html = page(
        title=f'drive_segment_ros: {sources.title}',
        written=f'{now:%Y-%m-%d %H:%M}',
        tiles=_tiles(sources, scores),
        sections=sections,
    )
    data = html.encode(errors='replace')
    write_atomic(output, data)
    absent = [section['heading'] for section in sections if not section['content']]
    return {'report': str(output), 'bytes': len(data), 'frames': len(frames), 'missing': absent}


def _section(name: str, heading: str, gather: Callable[[], Any]) -> dict[str, Any]:
    """Gather a section's content; what makes no sense costs this section only."""
    missing = _WHY_MISSING[name]
    try:
        content = gather()
    except _SENSELESS as err:
        content, missing = None, f'It cannot be shown, what was written makes no sense: {err!r}'
    return {'name': name, 'heading': heading, 'content': content, 'missing': missing}


def _tiles(sources: Sources, scores: Any) -> dict[str, str]:
    """Return the first figures that a reader looks for."""
    tiles: dict[str, str] = {}
    try:
        if scores:
            for kind in ('strict', 'many_to_one'):
                name = f'{kind.replace("_", "-")} mIoU'
                tiles[name] = figure(scores[kind]['miou'], 1, ' %')
            tiles['pixel accuracy, strict'] = figure(scores['strict']['accuracy'], 1, ' %')
        for step in sources.steps:
            if step.name == 'extract' and 'frames' not in tiles:
                tiles['frames'] = f'{step.result["frames"]} of {step.result["images"]}'
            if step.name == 'live' and step.result.get('latency_median_ms') is not None:
                tiles['live latency, median'] = figure(step.result['latency_median_ms'], 0, ' ms')
    except _SENSELESS:
        pass  # the section of its own says so
    return tiles


def _training(sources: Sources) -> dict[str, Any] | None:
    curves = facts.losses(sources.run)
    if not curves:
        return None
    time = ''
    for step in sources.steps:
        if step.name == 'train':
            waited = 100 * step.result['data_wait_fraction']
            time = (
                f'{figure(step.result["seconds"], 0)} s, {figure(waited, 1)} % of it waiting for '
                'data.'
            )
    return {'chart': line_chart(curves, 'step', 'cross-entropy'), 'time': time}


def _synchronisation(sources: Sources) -> dict[str, Any] | None:
    rows = []
    for item in facts.synchronisation(sources):
        offset = item.offset_ms and '{:.1f} ({:.1f} to {:.1f})'.format(*item.offset_ms)
        motion = ', '.join(f'{count} {kind}' for kind, count in item.motion.items())
        rows.append(
            (f'{item.drive}, {item.role}', item.frames, offset, motion, item.points_dropped)
        )
    extracted = []
    for step in sources.steps:
        if step.name == 'extract':
            drops = step.result['dropped']
            lost = ', '.join(f'{count} {reason}' for reason, count in drops.items()) or 'none'
            extracted.append(
                f'{step.title}: {step.result["frames"]} frames of {step.result["images"]} images '
                f'and {step.result["sweeps"]} sweeps; images dropped: {lost}.'
            )
    inspected = [_inspection(step.result) for step in sources.steps if step.name == 'inspect']
    if not (rows or extracted or inspected):
        return None
    head = ('drive', 'frames', 'offset ms', 'motion undone', 'points dropped')
    drives = table('Synchronisation by drive', head, rows)
    return {'drives': drives, 'extracted': extracted, 'inspected': inspected}


def _inspection(found: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for topic in found['topics']:
        offset = topic['clock_offset_s']
        values = (topic[name] for name in ('name', 'type', 'count', 'rate_hz'))
        rows.append((*values, None if offset is None else 1e3 * offset))
    head = ('topic', 'type', 'messages', 'rate Hz', 'recorded after stamp ms')
    lines = [
        f'{pair["camera"]} with {pair["lidar"]}: time offset '
        f'{figure(pair["camera_lidar_offset_ms"])} ms'
        for pair in found['pairs']
    ]
    lines += [f'{problem["what"]}: {problem["fix"]}' for problem in found['problems']]
    if not found['problems']:
        lines.append('no problem found')
    return {'lines': lines, 'topics': table('Topics of the bag', head, rows)}


def _live(sources: Sources) -> dict[str, Any] | None:
    steps = [
        {'title': step.title, 'figures': _flat(step.result)}
        for step in sources.steps
        if step.name in ('live', 'save-topic', 'play')
    ]
    pictures = live_pictures(sources.live)
    return {'pictures': pictures, 'steps': steps} if pictures or steps else None


def _steps(sources: Sources) -> dict[str, Any] | None:
    if not sources.steps:
        return None
    rows: list[Sequence[Any]] = [(step.title, step.seconds) for step in sources.steps]
    rows.append(('all', sum(step.seconds for step in sources.steps)))
    commands = '\n'.join(step.command for step in sources.steps)
    return {'times': table('Steps', ('step', 'seconds'), rows), 'commands': commands}


def _configuration(sources: Sources) -> dict[str, Any]:
    parts = {
        name: json.dumps(values, indent=1)
        for name, values in facts.configurations(sources).items()
    }
    alone = facts.networks_present(sources.run) and not sources.dataset
    missing = 'The configuration of extraction and labels is in the dataset.' if alone else ''
    return {'versions': facts.versions(), 'parts': parts, 'missing': missing}


def _flat(values: dict[str, Any]) -> dict[str, str]:
    """Return a result with its inner counts in words."""
    return {
        name.replace('_', ' '): ', '.join(f'{count} {key}' for key, count in value.items())
        or 'none'
        if isinstance(value, dict)
        else figure(value)
        for name, value in values.items()
    }
