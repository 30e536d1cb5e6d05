"""Prints a bag report as tables."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from offline_training.bags.inspect_report import BagReport, PairReport


def print_report(report: BagReport) -> None:
    """Print a report to standard output."""
    # Output piped into a file is not limited to the width of a terminal.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f'[bold]{escape(report.bag)}[/bold]: {report.duration_s:.1f} s')
    console.print(_topics(report))
    console.print(_sensors(report))
    if report.pairs:
        console.print(_pairs(report))
    for lidar in report.lidars:
        if lidar.segments_from:
            console.print(f'{escape(lidar.topic)}: segments by {lidar.segments_from}')
    console.print(f'transforms: {escape(", ".join(report.transforms)) or "none"}')
    console.print(f'odometry: {escape(report.odometry or "none")}')
    for problem in report.problems:
        console.print(
            f'[yellow]{escape(problem.what)}[/yellow]\n  -> {escape(problem.fix)}', highlight=False
        )
    if not report.problems:
        console.print('[green]nothing is missing: extract it as it is[/green]')


def _topics(report: BagReport) -> Table:
    table = Table(_folded('topic'), _folded('type'), 'messages', 'Hz', 'stored after stamp')
    for topic in report.topics:
        offset = topic.clock_offset_s
        table.add_row(
            escape(topic.name),
            escape(topic.type),
            str(topic.count),
            '' if topic.rate_hz is None else f'{topic.rate_hz:.1f}',
            '' if offset is None else _milliseconds(offset),
        )
    return table


def _sensors(report: BagReport) -> Table:
    table = Table(_folded('sensor'), _folded('frame'), 'data', 'calibration and timing')
    for camera in report.cameras:
        model = camera.calibration
        used = 'P' if model and model['rectified'] else 'K'
        focal = f', f {model[used][0][0]:.0f} px' if model else ''
        table.add_row(
            escape(f'{camera.name}: {camera.topic}'),
            escape(camera.frame_id),
            escape(f'{camera.width} x {camera.height}, {camera.encoding}'),
            f'{_lens(model)}{focal}' if model else 'missing',
        )
    for lidar in report.lidars:
        first, last = lidar.first_time_s, lidar.last_time_s
        timed = first is not None and last is not None
        table.add_row(
            escape(lidar.topic),
            escape(lidar.frame_id),
            escape(f'{lidar.points} points: {" ".join(lidar.fields)}'),
            f'{lidar.beams or "no"} beams, '
            + (f'{_milliseconds(first)} to {_milliseconds(last)}' if timed else 'no point times'),
        )
    return table


def _pairs(report: BagReport) -> Table:
    names = {camera.topic: camera.name for camera in report.cameras}
    table = Table(
        _folded('camera'),
        _folded('LiDAR'),
        'image after sweep',
        'view passed after stamp',
        'images stamped late by',
        'extrinsics against the image',
    )
    for pair in report.pairs:
        offset, delay = 'unknown', pair.camera_lidar_offset_ms
        if pair.offset_s is not None and pair.spread_s is not None:
            offset = f'{_milliseconds(pair.offset_s)} ± {pair.spread_s * 1e3:.1f}'
        table.add_row(
            escape(names[pair.camera]),
            escape(pair.lidar),
            offset,
            'unknown' if pair.view_time_s is None else _milliseconds(pair.view_time_s),
            'unknown' if delay is None else f'{delay:+.1f} ms',
            _extrinsics(pair),
        )
    return table


def _extrinsics(pair: PairReport) -> str:
    found = pair.extrinsics
    if not pair.transform:
        return '[yellow]missing[/yellow]'
    if found is None or found.ok is None:
        return 'known; could not be compared'
    angle = f'{found.angle_deg:.1f} degrees'
    return f'agree within {angle}' if found.ok else f'[yellow]off by {angle}[/yellow]'


def _lens(model: dict[str, Any]) -> str:
    """Return which part of camera_info applies."""
    if model['rectified']:
        return 'rectified: P'
    return escape(f'raw: K and D, {model["distortion_model"] or "no distortion"}')


def _folded(header: str) -> Column:
    """Return a column whose texts are wrapped instead of truncated."""
    return Column(header, overflow='fold')


def _milliseconds(seconds: float | None) -> str:
    return '' if seconds is None else f'{seconds * 1e3:+.1f} ms'
