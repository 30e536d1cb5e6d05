"""The command for published data sets: list their drives, convert them to bags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drive_segment_ros.commands.command import command, end_partly_done, print_json
from drive_segment_ros.commands.options import (
    AsJson,
    Overwrite,
    Scheduler,
    Workers,
    located,
    refuse_remote,
)
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.progress import progress_bar

if TYPE_CHECKING:
    from offline_training.bags.published.drive import DriveEntry
    from offline_training.bags.published.import_set import ImportReport

_MOST_LINES = 10


@command(
    name='import',
    kept='complete drives are kept in {output}; continue by the same command with --resume',
)
def import_(
    data_set: Annotated[
        str,
        typer.Argument(
            metavar='SET',
            help='Data set: kitti-raw, semantic-kitti, nuscenes, pandaset, argoverse2 or waymo.',
        ),
    ],
    root: Annotated[
        Path,
        typer.Argument(parser=located, help='Folder or URL of the set, in its published layout.'),
    ],
    output: Annotated[
        Path,
        typer.Option(
            '--output', '-o', parser=located, help='Folder for the bags, one for each drive.'
        ),
    ],
    drive: Annotated[
        list[str] | None,
        typer.Option('--drive', '--scene', help='Drive to import, by name; may be repeated.'),
    ] = None,
    everything: Annotated[bool, typer.Option('--all', help='Import all drives.')] = False,
    frames: Annotated[
        str, typer.Option(help='Sweeps of each drive, FIRST:LAST; default: all.')
    ] = '',
    camera: Annotated[
        list[str] | None,
        typer.Option(
            '--camera',
            '--cameras',
            help='Camera to import, by name; may be repeated; default: all.',
        ),
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = '',
    resume: Annotated[bool, typer.Option('--resume', help='Skip existing drives.')] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Convert drives of a published data set to bags, with their labels next to them.

    Of several drives nothing is imported until some are chosen: they are listed.
    """
    from offline_training.bags.published.import_set import (
        ImportOptions,
        import_set,
        list_drives,
    )

    if drive and everything:
        raise DriveSegmentError('give either --drive or --all')
    refuse_remote(output, 'bags are written to a local folder', 'copy them afterwards')
    if not drive and not everything:
        entries = list_drives(data_set, root)
        if len(entries) > 1:
            _print_entries(entries, as_json)
            return
    options = ImportOptions(
        drive or [], frames, camera or [], workers, scheduler, resume, overwrite
    )
    with progress_bar() as on_progress:
        report = import_set(data_set, root, output, options, on_progress)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _print_report(report)
    end_partly_done(report.failed)


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
        typer.echo(f'{name}: exists already')
    shared = {
        'yes': 'trained weights may be distributed',
        'non-commercial': 'trained weights may be distributed for non-commercial use',
        'no': 'trained weights may not be distributed',
    }
    typer.echo(f'{report.set}: licence {report.licence}; {shared[report.weights]}')
