"""The reports of the commands on live topics as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drive_segment_ros.frame.reasons import IMAGE_REASONS
from offline_training.report.figures import counted, figure, listed


def told(command: str, result: Mapping[str, Any]) -> list[str]:
    """Return sentences on a summary of `live`, `save-topic` or `play`; none for others."""
    return _TOLD[command](result) if command in _TOLD else []


def _live(result: Mapping[str, Any]) -> list[str]:
    if 'cameras' in result:
        return [
            f'{name}: {line}' for name, one in result['cameras'].items() for line in _live(one)
        ]
    lines = [_made(result)]
    if result.get('latency_median_ms') is not None:
        half, most = (figure(result.get(f'latency_{n}_ms'), 0, ' ms') for n in ('median', 'p95'))
        lines.append(
            f'Latency from the arrival of an image to the publication of its mask: median {half}, '
            f'95th percentile {most}.'
        )
    lost = result.get('dropped') or {}
    if not lost:
        lines.append('No image was dropped.')
    for reason, count in lost.items():
        lines.append(
            f'{counted(count, "image")} dropped ({reason.replace("_", " ")})'
            f'{": " + IMAGE_REASONS[reason] if reason in IMAGE_REASONS else ""}.'
        )
    return lines


def _made(result: Mapping[str, Any]) -> str:
    received = ', '.join(
        f'{count:,} {name.replace("_", " ")} messages'
        for name, count in (result.get('received') or {}).items()
    )
    rate = result.get('rate_hz')
    speed = f', {figure(float(rate))} a second' if rate else ''
    return f'{counted(result["frames"], "mask")} published{speed}; received: {received or "–"}.'


def _saved(result: Mapping[str, Any]) -> list[str]:
    return [
        f'{counted(count, "picture")} of {topic} saved.'
        for topic, count in (result.get('topics') or {}).items()
    ]


def _played(result: Mapping[str, Any]) -> list[str]:
    sent = result.get('sent') or {}
    lines = [
        f'{counted(sum(sent.values()), "message")} of {counted(len(sent), "topic")} played in '
        f'{figure(float(result["duration_s"]))} s, '
        f'{figure(1e3 * float(result.get("behind_s") or 0.0), 0)} ms late at worst.'
    ]
    for key, what in (
        ('unmatched', '{} had no subscriber when playing began.'),
        ('unacknowledged', 'Not all messages of {} were received at the end.'),
    ):
        if result.get(key):
            lines.append(what.format(listed(result[key])))
    return lines


_TOLD: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    'live': _live,
    'save-topic': _saved,
    'play': _played,
}
