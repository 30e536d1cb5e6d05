"""The command that shows drives, datasets and masks in Rerun's viewer."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from drive_segment_ros.commands.command import command, print_json
from drive_segment_ros.commands.options import (
    AsJson,
    Cameras,
    Join,
    Overwrite,
    located,
    model_located,
)
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.outputs import refuse_existing


@command(kept='nothing was changed')
def view(
    sources: Annotated[
        list[Path],
        typer.Argument(parser=located, help='Dataset, bag or run; several bags with --join.'),
    ],
    join: Join = False,
    model: Annotated[
        Path | None,
        typer.Option(parser=model_located, help='Run or exported model whose masks to show.'),
    ] = None,
    bag: Annotated[
        list[Path] | None,
        typer.Option(
            parser=located,
            help="Bag of a dataset's drive, to show its clouds; several bags are parts of one "
            'drive.',
        ),
    ] = None,
    drive: Annotated[str, typer.Option(help='Drive of a dataset; default: the first.')] = '',
    camera: Cameras = None,
    frames: Annotated[
        str, typer.Option(help='Frames of each camera of a dataset, FIRST:LAST; default: all.')
    ] = '',
    save: Annotated[
        Path | None, typer.Option(help='Write a recording, .rrd, instead of showing it.')
    ] = None,
    web: Annotated[
        bool,
        typer.Option(
            '--web', help="Show it in a browser, with Rerun's viewer served by this machine."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(help='Port of --web; the next port is used as well.', min=1, max=65534)
    ] = 9090,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show images, segments, labels, masks, clouds and synchronisation on one timeline."""
    from drive_segment_ros.progress import bar
    from drive_segment_ros.ros.joined_bags import one_drive
    from offline_training.view.sinks import all_sent, file_sink, viewer_sink
    from offline_training.view.view import ViewOptions
    from offline_training.view.view import view as show
    from offline_training.view.web_viewer import WebViewer

    if save is not None and web:
        raise DriveSegmentError('give either --save or --web')
    if save is not None:
        refuse_existing(save, overwrite=overwrite)
    bags = one_drive(sources, join)
    place: contextlib.AbstractContextManager[Any] = contextlib.nullcontext(viewer_sink)
    if save is not None:
        place = file_sink(save)
    elif web:
        place = WebViewer(port)
    with place as sink:
        options = ViewOptions(sink, model, bag or (), drive, camera or (), frames, bar('reading'))
        made = show(bags, options)
        report: dict[str, Any] = {'layers': made.layers, 'clouds': made.clouds, 'saved': save}
        if isinstance(sink, WebViewer):
            sink.complete()
            report['address'] = sink.address
            if as_json:
                print_json(report)
            else:
                typer.echo(f'{sink.address}; Ctrl-C ends it')
            sink.serve(open_browser=not as_json)
            return
        if save is None:
            all_sent(made.stream)
    if as_json:
        print_json(report)
    elif save is not None:
        typer.echo(f'{save}: open it with `rerun {save}` or any other Rerun viewer')
