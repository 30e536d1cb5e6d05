"""The report: gathers the content of its sections; `page.html.j2` is the layout."""

from __future__ import annotations

import datetime
import functools
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from offline_training.common.files import write_atomic
from offline_training.evaluation.evaluate import image_name
from offline_training.report import facts
from offline_training.report.chart import training_charts
from offline_training.report.class_gallery import gallery, gallery_folder, names_of
from offline_training.report.figures import figure, table
from offline_training.report.frames import sample_frames
from offline_training.report.learned_from import frames_by_role
from offline_training.report.live import told
from offline_training.report.overview import Overview, overview
from offline_training.report.page import page
from offline_training.report.pictures import live_pictures
from offline_training.report.scores import (
    Scored,
    confusion_table,
    read_if_there,
    scores_section,
)
from offline_training.report.sources import (
    BASELINE_FOLDER,
    LEARNED_FROM,
    SCORES_FOLDER,
    Sources,
)
from offline_training.report.synchronisation import synchronisation
from offline_training.training.run_folder import RUN_FILE

# Errors raised by invalid content of files from other sources.
_SENSELESS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def write_report(
    sources: Sources, output: Path, say: Callable[[str], None] = lambda doing: None
) -> dict[str, Any]:
    """Write the page.

    Args:
        sources: inputs of the report.
        output: the HTML file.
        say: called with each step.

    Returns:
        `report` (path), `bytes`, `frames` (shown), `missing` (headings of sections without
        content).

    Raises:
        DatasetError, ModelError: if an existing input cannot be read.
    """
    run = read_if_there(sources.run / RUN_FILE) if sources.run else None
    if not isinstance(run, dict) or not isinstance(run.get('parameters', {}), dict):
        run = {}
    classes = names_of(sources.run, sources.dataset)
    shown = frames_by_role(sources, run)
    learned = {image_name(f.record.image_path) for f in shown if f.role == LEARNED_FROM}
    say('drawing sample frames and segmenting them')
    frames = sample_frames(sources, shown, classes)
    say('laying out scores, classes and curves')
    scored = Scored.read(sources)
    folder = gallery_folder(sources.run, sources.dataset)
    shows = _sensible(lambda: gallery(folder, classes))
    leads = functools.partial(overview, sources, run, shown, frames, shows)
    head = (
        _sensible(lambda: leads(scored))
        or _sensible(lambda: leads(Scored()))
        or Overview([], {}, [])
    )
    sections = [
        _section('scores', 'Scores', lambda: _scores(sources, scored, learned if shown else None)),
        _section('frames', 'Frames', lambda: frames),
        _section('gallery', 'Pseudo-classes', lambda: gallery(folder, classes)),
        _section(
            'confusion',
            'Confusion matrix',
            lambda: scored.confusion and confusion_table(scored.confusion, classes),
        ),
        _section('training', 'Training', lambda: _training(sources)),
        _section(
            'synchronisation', 'Recording and synchronisation', lambda: synchronisation(sources)
        ),
        _section('live', 'Live', lambda: _live(sources)),
        _section('steps', 'Steps and timings', lambda: _steps(sources)),
        _section('configuration', 'Configuration and versions', lambda: _configuration(sources)),
    ]
    hints = _hints(sources)
    for section in sections:
        section['hint'] = hints.get(section['name'], {'text': '', 'command': ''})
    now = datetime.datetime.now(datetime.timezone.utc)
    html = page(
        'page.html.j2',
        title=f'drive_segment_ros: {sources.title}',
        written=f'{now:%Y-%m-%d %H:%M}',
        head=head,
        sections=sections,
    )
    data = html.encode(errors='replace')
    write_atomic(output, data)
    absent = [section['heading'] for section in sections if not section['content']]
    return {'report': str(output), 'bytes': len(data), 'frames': len(frames), 'missing': absent}


def _section(name: str, heading: str, gather: Callable[[], Any]) -> dict[str, Any]:
    """Gather a section's content; invalid input omits this section only."""
    try:
        return {'name': name, 'heading': heading, 'content': gather(), 'problem': ''}
    except _SENSELESS as err:
        problem = f'This section cannot be shown, because a file is invalid: {err!r}'
        return {'name': name, 'heading': heading, 'content': None, 'problem': problem}


def _sensible(gather: Callable[[], Any]) -> Any:
    """Return the gathered content, None where it is invalid; its own section reports the error."""
    try:
        return gather()
    except _SENSELESS:
        return None


def _baseline_commands(sources: Sources) -> str:
    run = shlex.quote(str(sources.run or 'RUN'))
    dataset = shlex.quote(str(sources.dataset or 'DATASET'))
    return (
        f'drive-segment baseline {dataset} -o BASELINE\n'
        f'drive-segment evaluate BASELINE {dataset} --frames FIRST:LAST --ground-truth LABELS '
        f'-o {run}/{BASELINE_FOLDER}'
    )


def _hints(sources: Sources) -> dict[str, dict[str, str]]:
    """Return the reason for an empty section and the command that fills it, with known paths."""
    run = shlex.quote(str(sources.run or 'RUN'))
    dataset = shlex.quote(str(sources.dataset or 'DATASET'))
    texts = {
        'frames': (
            'No frames: pass the training data.',
            f'drive-segment report {run} --dataset DATASET --overwrite',
        ),
        'gallery': (
            'No pseudo-classes were found: label the data, and pass it.',
            f'drive-segment label {dataset}\n'
            f'drive-segment report {run} --dataset {dataset} --overwrite',
        ),
        'scores': (
            'Not scored, which needs labelled images. With a folder of labels named like the '
            'images, and FIRST:LAST for frames that were not used in training:',
            f'drive-segment evaluate {run} {dataset} --frames FIRST:LAST --ground-truth LABELS '
            f'-o {run}/{SCORES_FOLDER}\n{_baseline_commands(sources)}',
        ),
        'confusion': ('Not scored, so there is no confusion matrix.', ''),
        'training': (
            'Not trained yet.',
            f'drive-segment train {dataset} -o {run}',
        ),
        'synchronisation': (
            'The dataset was not found: pass it.',
            f'drive-segment report {run} --dataset DATASET --overwrite',
        ),
        'live': (
            'No live run was recorded. To see the masks of this run on topics:',
            f'drive-segment export {run} -o MODEL\n'
            'drive-segment live --node segmentation --model MODEL --camera /camera/front',
        ),
        'steps': ('Only a demo records its commands and their times.', 'drive-segment demo'),
        'configuration': ('Not known.', ''),
    }
    return {name: {'text': text, 'command': line} for name, (text, line) in texts.items()}


def _scores(sources: Sources, scored: Scored, learned: set[str] | None) -> dict[str, Any] | None:
    content = scores_section(scored, learned)
    if content is not None:
        alone = scored.student and not scored.baseline and not scored.experiment
        content['compare'] = _baseline_commands(sources) if alone else ''
    return content


def _training(sources: Sources) -> dict[str, Any] | None:
    curves = facts.curves(sources.run)
    if not curves:
        return None
    time = ''
    for step in sources.steps:
        if step.name == 'train':
            waited = 100 * step.result['data_wait_fraction']
            time = (
                f'{figure(float(step.result["seconds"]), 0)} s, {figure(waited, 1)} % of it '
                'waiting for data.'
            )
    held_out = any(len(curve.held_out) for curve in curves.values())
    return {'charts': training_charts(curves), 'time': time, 'held_out': held_out}


def _live(sources: Sources) -> dict[str, Any] | None:
    steps = [
        {'title': step.title.strip(' .'), 'lines': told(step.name, step.result)}
        for step in sources.steps
    ]
    steps = [step for step in steps if step['lines']]
    pictures = live_pictures(sources.live)
    return {'pictures': pictures, 'steps': steps} if pictures or steps else None


def _steps(sources: Sources) -> dict[str, Any] | None:
    if not sources.steps:
        return None
    rows: list[Sequence[Any]] = [(step.title, float(step.seconds)) for step in sources.steps]
    rows.append(('all', float(sum(step.seconds for step in sources.steps))))
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
