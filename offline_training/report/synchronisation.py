"""Recording, pairing and motion compensation of images and sweeps, by drive and by bag."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from drive_segment_ros.frame.reasons import IMAGE_REASONS
from offline_training.report.figures import counted, figure, table
from offline_training.report.sources import Sources

_MOTION = {'per_point': 'of each point', 'per_sweep': 'of whole sweeps', 'none': 'not known'}


def synchronisation(sources: Sources) -> dict[str, Any] | None:
    """Return the content of the section; None if nothing is known."""
    rows = [row for source in sources.drives for row in _rows(source)]
    extracted = [
        line
        for step in sources.steps
        if step.name == 'extract'
        for line in _extracted(step.title, step.result)
    ]
    inspected = [_inspection(step.result) for step in sources.steps if step.name == 'inspect']
    if not (rows or extracted or inspected):
        return None
    head = (
        *('drive', 'role', 'frames', 'sweep to image, ms', 'from', 'to', 'motion undone'),
        'points without a place',
    )
    drives = table('Synchronisation by drive', head, rows)
    return {'drives': drives, 'extracted': extracted, 'inspected': inspected}


def _rows(source: Any) -> list[tuple[Any, ...]]:
    rows = []
    for drive in source.drives:
        records = [frame.record for frame in drive.frames]
        offsets = [1e3 * r['offset_s'] for r in records if r.get('offset_s') is not None]
        span = (
            (float(np.median(offsets)), float(min(offsets)), float(max(offsets)))
            if offsets
            else (None, None, None)
        )
        motion = Counter(str(r.get('motion', 'unknown')) for r in records)
        undone = ', '.join(f'{_MOTION.get(kind, kind)}: {n}' for kind, n in motion.items())
        dropped = sum(int(r.get('points_dropped', 0)) for r in records)
        rows.append((drive.name, source.role, len(records), *span, undone, dropped))
    return rows


def _extracted(title: str, result: dict[str, Any]) -> list[str]:
    lost = result['dropped']
    made = (
        f'{title}: {counted(result["frames"], "frame")} of {counted(result["images"], "image")} '
        f'and {counted(result["sweeps"], "sweep")}.'
    )
    return [
        made,
        *(
            f'{counted(count, "image")} dropped ({reason.replace("_", " ")}): '
            f'{IMAGE_REASONS.get(reason, "not known")}.'
            for reason, count in lost.items()
        ),
    ]


def _inspection(found: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for topic in found['topics']:
        offset = topic['clock_offset_s']
        values = (topic[name] for name in ('name', 'type', 'count', 'rate_hz'))
        rows.append((*values, None if offset is None else 1e3 * offset))
    head = ('topic', 'type', 'messages', 'rate Hz', 'recorded after stamp, ms')
    lines = [
        f'{pair["camera"]} with {pair["lidar"]}: time offset '
        f'{figure(pair["camera_lidar_offset_ms"])} ms'
        for pair in found['pairs']
    ]
    lines += [f'{problem["what"]}: {problem["fix"]}' for problem in found['problems']]
    if not found['problems']:
        lines.append('no problem found')
    return {'lines': lines, 'topics': table('Topics of the bag', head, rows)}
