"""`bench`: runs the benchmarks of the source tree."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import drive_segment_ros
from drive_segment_ros.commands.command import command, print_json
from drive_segment_ros.commands.options import AsJson
from drive_segment_ros.cores import usable_cores
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.inference.machine import processor_name


@command
def bench(
    suite: Annotated[
        str, typer.Argument(help='Benchmark, for example lidar, extract, io, recorder or node.')
    ],
    quick: Annotated[
        bool, typer.Option('--quick', help='Only a few runs, as a smoke test.')
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run benchmarks on this machine; needs the source tree."""
    results = _benchmark(suite)(quick)
    if as_json:
        cores = usable_cores()
        print_json({**results, 'processor': processor_name(), 'cores': cores})
    else:
        _print_results(results['results'])


def _benchmark(suite: str) -> Callable[[bool], dict[str, Any]]:
    """Return `run` of a file in the folder `benchmarks`, which is not installed."""
    folder = Path(drive_segment_ros.__file__).parents[1] / 'benchmarks'
    path = folder / f'{suite}.py'
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob('[a-z]*.py'))
        raise DriveSegmentError(
            f'no benchmark {suite!r} in {folder}; there are: {", ".join(known) or "none"} '
            '(benchmarks are part of the source tree and are not installed)'
        )
    spec = importlib.util.spec_from_file_location(f'benchmarks.{suite}', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(folder))  # benchmarks share modules among themselves
    spec.loader.exec_module(module)
    return module.run


def _print_results(results: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    usual = ('name', 'median_s', 'p95_s', 'best_s', 'runs', 'peer', 'ratio')
    table = Table('benchmark', 'median ms', 'p95 ms', 'runs', 'ratio')
    for result in results:
        table.add_row(
            result['name'],
            f'{result["median_s"] * 1e3:.2f}',
            f'{result["p95_s"] * 1e3:.2f}',
            str(result['runs']),
            _cell(result['ratio']),
        )
    console.print(table)
    for result in results:
        further = [
            f'{key} {_cell(value)}'
            for key, value in result.items()
            if key not in usual and not isinstance(value, dict) and value is not None
        ]
        if further:
            console.print(f'{result["name"]}: {", ".join(further)}')
        if 'per_class' in result:
            columns = list(next(iter(result['per_class'].values())))
            classes = Table('class', *columns, title=f'{result["name"]}, %')
            for name, scores in result['per_class'].items():
                classes.add_row(name, *(_cell(scores[column]) for column in columns))
            console.print(classes)


def _cell(value: Any) -> str:
    if value is None:
        return ''
    return f'{value:.2f}' if isinstance(value, float) else str(value)
