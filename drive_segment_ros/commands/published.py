"""The command for published data sets: list their drives, turn them into bags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drive_segment_ros.commands.command import command, print_json
from drive_segment_ros.commands.options import AsJson, Cameras, Overwrite
from drive_segment_ros.progress import progress_bar
from drive_segment_ros.storage import location

if TYPE_CHECKING:
    from offline_training.bags.published.drive import DriveEntry
    from offline_training.bags.published.import_set import ImportReport

_PARTLY = 3
_MOST_LINES = 10


@command(
    name='import',
    kept='drives that are complete are kept in {output}; go on by the same command with --resume',
)
def import_(
    data_set: Annotated[str, typer.Argument(metavar='SET', help='Such as kitti-raw.')],
    root: Annotated[str, typer.Argument(help='Its folder or URL, laid out as published.')],
    output: Annotated[
        Path, typer.Option('--output', '-o', help='Folder for the bags, one a drive.')
    ],
    drive: Annotated[
        list[str] | None,
        typer.Option('--drive', '--scene', help='Drive to import, by name; repeatable.'),
    ] = None,
    everything: Annotated[bool, typer.Option('--all', help='Import all drives.')] = False,
    frames: Annotated[
        str, typer.Option(help='Sweeps of each drive, FIRST:LAST; default: all.')
    ] = '',
    camera: Cameras = None,
    workers: Annotated[int, typer.Option(help='Processes; 0 is one per core.', min=0)] = 0,
    scheduler: Annotated[str, typer.Option(help='Address of a dask scheduler to use.')] = '',
    resume: Annotated[
        bool, typer.Option('--resume', help='Pass over drives that are there.')
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Turn drives of a published data set into bags, their labels beside them.

    Of several drives nothing is imported until some are chosen: they are listed.
    """
    from offline_training.bags.published.import_set import (
        ImportOptions,
        import_set,
        list_drives,
    )

    folder = location(root)
    if not drive and not everything:
        entries = list_drives(data_set, folder)
        if len(entries) > 1:
            _print_entries(entries, as_json)
            return
    options = ImportOptions(
        drive or [], frames, camera or [], workers, scheduler, resume, overwrite
    )
    with progress_bar() as on_progress:
        report = import_set(data_set, folder, output, options, on_progress)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _print_report(report)
    if report.failed:
        raise typer.Exit(_PARTLY)


def _print_entries(entries: list[DriveEntry], as_json: bool) -> None:
    if as_json:
        print_json({'available': [dataclasses.asdict(entry) for entry in entries]})
        return
    for entry in entries:
        typer.echo(
            f'{entry.name}: {entry.frames} sweeps; cameras {", ".join(entry.cameras) or "none"}; '
            f'labels: {entry.labels}'
        )
    typer.echo(f'{len(entries)} drives; choose with --drive NAME (repeatable), or --all')


def _print_report(report: ImportReport) -> None:
    for done in report.drives:
        truth = f'; truth in {done.truth}' if done.truth else ''
        typer.echo(f'{done.bag}: {done.images} images, {done.sweeps} sweeps{truth}')
        for line in done.notes[:_MOST_LINES]:
            typer.echo(f'  {line}')
        if len(done.notes) > _MOST_LINES:
            more = len(done.notes) - _MOST_LINES
            typer.echo(f'  and {more} more in {done.bag}/import.yaml')
    for name in report.present:
        typer.echo(f'{name}: was there already')
    for name, why in report.failed.items():
        typer.echo(f'drive-segment: {name} is not imported: {why}', err=True)
    shared = {
        'yes': 'trained weights may be passed on',
        'non-commercial': 'trained weights may be passed on for non-commercial use',
        'no': 'trained weights may not be passed on',
    }
    typer.echo(f'{report.set}: licence {report.licence}; {shared[report.weights]}')
