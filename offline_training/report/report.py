"""The report: sections in the order in which a reader asks."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from offline_training.files import write_atomic
from offline_training.report import facts
from offline_training.report.frames import live_pictures, sample_frames
from offline_training.report.markup import (
    Raw,
    bar,
    definitions,
    details,
    line_chart,
    missing,
    number,
    shaded_table,
    table,
    text,
)
from offline_training.report.page import frame_browser, page
from offline_training.report.sources import Sources

PROTOCOLS = {
    'strict': 'one-to-one; what is not matched is wrong',
    'ignore_unmatched': 'the same; pixels of unmatched pseudo-classes left out, which flatters',
    'many_to_one': 'the same; leftovers go to the class they overlap most',
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
        facts.read_json(sources.scores / name) if sources.scores else None
        for name in ('scores.json', 'confusion.json')
    )
    sections = {
        'Frames through all stages': frame_browser(frames) if frames else '',
        'Pseudo-classes': _gallery(sources),
        'Scores': _scores(scores) if scores else '',
        'Confusion matrix': _confusion(confusion) if confusion else '',
        'Training': _training(sources),
        'Recording and synchronisation': _synchronisation(sources),
        'Live': _live(sources),
        'Steps and timings': _steps(sources),
        'Configuration and versions': _configuration(sources),
    }
    absent = [heading for heading, content in sections.items() if not content]
    shown = [
        (heading, content or missing(_WHY_MISSING[heading]))
        for heading, content in sections.items()
    ]
    html = page(f'drive_segment_ros: {sources.title}', _introduction(sources, scores), shown)
    data = html.encode()
    write_atomic(output, data)
    return {'report': str(output), 'bytes': len(data), 'frames': len(frames), 'missing': absent}


_WHY_MISSING = {
    'Frames through all stages': 'No frames: name the dataset with --dataset.',
    'Pseudo-classes': (
        'No pseudo-classes: run `drive-segment label` on the dataset, and name it with --dataset.'
    ),
    'Scores': (
        'Not scored: `drive-segment evaluate RUN IMAGES --ground-truth LABELS -o RUN/scores` '
        'needs labelled images.'
    ),
    'Confusion matrix': 'Not scored, so there is none.',
    'Training': 'Nothing was trained: `drive-segment train DATASET -o RUN`.',
    'Recording and synchronisation': 'The dataset is not at hand: name it with --dataset.',
    'Live': 'There was no live run; `drive-segment demo` has one.',
    'Steps and timings': 'Not known of a run by itself; `drive-segment demo` notes them.',
}


def _introduction(sources: Sources, scores: dict[str, Any] | None) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    tiles = {}
    if scores:
        for kind in ('strict', 'many_to_one'):
            tiles[f'{kind.replace("_", "-")} mIoU'] = f'{scores[kind]["miou"]:.1f} %'
        tiles['pixel accuracy, strict'] = f'{scores["strict"]["accuracy"]:.1f} %'
    for step in sources.steps:
        if step.name == 'extract' and 'frames' not in tiles:
            tiles['frames'] = f'{step.result["frames"]} of {step.result["images"]}'
        if step.name == 'live' and step.result.get('latency_median_ms') is not None:
            tiles['live latency, median'] = f'{step.result["latency_median_ms"]:.0f} ms'
    cells = ''.join(
        f'<div>{text(name)}<b>{text(value)}</b></div>' for name, value in tiles.items()
    )
    return (
        f'<p class="soft">Written {now:%Y-%m-%d %H:%M} UTC. Pseudo-classes were learned without '
        f'a label; truth is for scoring and naming.</p><div class="tiles">{cells}</div>'
    )


def _gallery(sources: Sources) -> str:
    figures = []
    for entry in facts.gallery(sources):
        counted = entry.statistics
        amount = (
            f'{counted["objects"]} objects in {counted["segments"]} segments' if counted else ''
        )
        colour = '#{:02x}{:02x}{:02x}'.format(*entry.color)
        figures.append(
            f'<figure><img src="{entry.picture}" alt="Segments of class {entry.number}" '
            f'loading="lazy"><figcaption><span class="chip" style="background:{colour}"></span> '
            f'<b>{entry.number}: {text(entry.name)}</b> {amount}</figcaption></figure>'
        )
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ''


def _scores(scores: dict[str, Any]) -> str:
    overview = table(
        ('protocol', 'mIoU %', 'accuracy %', 'meaning'),
        [
            (kind, scores[kind]['miou'], scores[kind]['accuracy'], meaning)
            for kind, meaning in PROTOCOLS.items()
        ],
        'Scores by protocol',
    )
    classes = scores['strict']['per_class']
    per_class = table(
        ('class', *(f'{kind} IoU %' for kind in PROTOCOLS)),
        [
            (name, *(_iou(scores[kind]['per_class'].get(name)) for kind in PROTOCOLS))
            for name in classes
        ],
        'IoU by class',
    )
    setting = (
        f'K = {scores["k"]}, {scores["classes_present"]} classes present, {scores["images"]} '
        f'images, matching learned on {scores["matching_learned_on"]}.'
    )
    return f'<p>{text(setting)}</p>{overview}<h3>By class</h3>{per_class}'


def _iou(value: float | None) -> Raw | str:
    """Return an IoU as a bar; a class of which a protocol leaves no pixel has none."""
    return '–' if value is None else Raw(bar(value))


def _confusion(confusion: dict[str, Any]) -> str:
    pixels = np.array(confusion['pixels'], np.int64)
    classes = confusion['classes']
    present = np.flatnonzero(pixels.sum(axis=0) + confusion['pixels_without_prediction'])
    seen = np.flatnonzero(pixels.sum(axis=1))
    place = {name: index for index, name in enumerate(classes)}
    matched = [place.get(name, len(classes)) for name in confusion['many_to_one']]
    order = sorted(seen.tolist(), key=lambda row: (matched[row], -int(pixels[row].sum())))
    counts = pixels[order][:, present]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    framed = {
        (i, j)
        for i, row in enumerate(order)
        for j, column in enumerate(present.tolist())
        if confusion['one_to_one'][row] == classes[column]
    }
    rows = [
        f'{row} ({share:.1f} %)'
        for row, share in zip(
            order, 100.0 * counts.sum(axis=1) / max(int(pixels.sum()), 1), strict=True
        )
    ]
    names = [classes[column] for column in present]
    return (
        '<p class="soft">Each row is a pseudo-class with its share of all pixels; the cells say '
        'how many percent of it lie in which true class. Framed: the one-to-one match.</p>'
    ) + shaded_table(rows, names, shares, framed, 'Confusion matrix')


def _training(sources: Sources) -> str:
    curves = facts.losses(sources.run)
    if not curves:
        return ''
    chart = line_chart(curves, 'step', 'cross-entropy')
    trained = next((step.result for step in sources.steps if step.name == 'train'), None)
    if trained is None:
        return chart
    waited = 100 * trained['data_wait_fraction']
    return f'{chart}<p>{trained["seconds"]:.0f} s, {waited:.1f} % of it waiting for data.</p>'


def _synchronisation(sources: Sources) -> str:
    rows = []
    for item in facts.synchronisation(sources):
        offset = item.offset_ms and '{:.1f} ({:.1f} to {:.1f})'.format(*item.offset_ms)
        motion = ', '.join(f'{count} {kind}' for kind, count in item.motion.items())
        rows.append(
            (f'{item.drive}, {item.role}', item.frames, offset, motion, item.points_dropped)
        )
    parts = []
    if rows:
        head = ('drive', 'frames', 'offset ms', 'motion undone', 'points dropped')
        parts.append(table(head, rows, 'Synchronisation by drive'))
    for step in sources.steps:
        if step.name == 'extract':
            drops = step.result['dropped']
            lost = ', '.join(f'{count} {reason}' for reason, count in drops.items()) or 'none'
            parts.append(
                f'<p>{text(step.title)}: {step.result["frames"]} frames of '
                f'{step.result["images"]} images and {step.result["sweeps"]} sweeps; '
                f'images dropped: {text(lost)}.</p>'
            )
        if step.name == 'inspect':
            parts.append(_inspection(step.result))
    return ''.join(parts)


def _inspection(found: dict[str, Any]) -> str:
    topics = table(
        ('topic', 'type', 'messages', 'rate Hz', 'recorded after stamp ms'),
        [
            (
                topic['name'],
                topic['type'],
                topic['count'],
                topic['rate_hz'],
                None if topic['clock_offset_s'] is None else 1e3 * topic['clock_offset_s'],
            )
            for topic in found['topics']
        ],
        'Topics of the bag',
    )
    lines = []
    for pair in found['pairs']:
        error = number(pair['camera_lidar_offset_ms'])
        lines.append(f'{pair["camera"]} with {pair["lidar"]}: time offset {error} ms')
    lines += [f'{problem["what"]}: {problem["fix"]}' for problem in found['problems']]
    if not found['problems']:
        lines.append('no problem found')
    items = ''.join(f'<li>{text(line)}</li>' for line in lines)
    return f'<h3>Inspection of the bag</h3><ul>{items}</ul>{topics}'


def _live(sources: Sources) -> str:
    figures = ''.join(
        f'<figure><img src="{picture}" alt="Masks over the image" loading="lazy"></figure>'
        for picture in live_pictures(sources.live)
    )
    parts = [f'<div class="gallery">{figures}</div>'] if figures else []
    parts += [
        f'<h3>{text(step.title)}</h3>{definitions(_flat(step.result))}'
        for step in sources.steps
        if step.name in ('live', 'watch', 'play')
    ]
    return ''.join(parts)


def _steps(sources: Sources) -> str:
    if not sources.steps:
        return ''
    rows = [(step.title, step.seconds) for step in sources.steps]
    rows.append(('all', sum(step.seconds for step in sources.steps)))
    commands = '\n'.join(step.command for step in sources.steps)
    return table(('step', 'seconds'), rows, 'Steps') + details(
        'Commands', f'<pre tabindex="0">{text(commands)}</pre>'
    )


def _configuration(sources: Sources) -> str:
    parts = [definitions(facts.versions())]
    for name, values in facts.configurations(sources).items():
        pretty = json.dumps(values, indent=1)
        parts.append(details(name, f'<pre tabindex="0">{text(pretty)}</pre>'))
    if facts.networks_present(sources.run) and not sources.dataset:
        parts.append(missing('The configuration of extraction and labels is in the dataset.'))
    return ''.join(parts)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its inner counts in words."""
    return {
        name.replace('_', ' '): ', '.join(f'{count} {key}' for key, count in value.items())
        or 'none'
        if isinstance(value, dict)
        else number(value)
        for name, value in values.items()
    }
