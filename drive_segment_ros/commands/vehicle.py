"""Commands for running nodes, checking the machine, and the demo."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from drive_segment_ros.commands.command import INTERRUPTED, command, print_json
from drive_segment_ros.commands.options import (
    AsJson,
    Assignments,
    Calibration,
    Join,
    Overwrite,
    located,
    model_located,
    refuse_remote,
)
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.progress import progress_bar


@command(handles_signals=True)
def live(
    node: Annotated[
        str, typer.Option(help='Which node to run: proposals, segmentation or recorder.')
    ] = 'proposals',
    model: Annotated[
        Path | None,
        typer.Option(
            parser=model_located,
            help='Exported model to segment with: a folder, a URL, or hf://OWNER/NAME[@REVISION].',
        ),
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(
            '--params', parser=located, help='ROS parameter file, such as those in config/.'
        ),
    ] = None,
    calibration: Calibration = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="A camera's namespace; may be repeated, for a rig."),
    ] = None,
    remap: Annotated[
        list[str] | None, typer.Option('--remap', '-r', metavar='FROM:=TO', help='Rename a topic.')
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help='Seconds to run; default: until interrupted.')
    ] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Run the nodes, without a ROS installation, until interrupted."""
    from drive_segment_ros.nodes.executables import leave
    from drive_segment_ros.nodes.live import LiveOptions
    from drive_segment_ros.nodes.live import live as run_live

    options = LiveOptions(
        node, params, calibration, camera or (), remap or (), duration, assignments or (), model
    )
    try:
        summary = run_live(options)
    except KeyboardInterrupt:
        typer.echo('interrupted before the node was active; compiled kernels are kept', err=True)
        # A normal exit would wait for a compilation or crash.
        leave(INTERRUPTED)
    if as_json:
        print_json(summary)
    else:
        for name, value in summary.items():
            typer.echo(f'{name}: {value}')
    # Everything is written; a normal exit would take another second.
    leave(0)


@command(handles_signals=True)
def save_topic(
    topics: Annotated[
        list[str],
        typer.Argument(
            help='Image topics, for example /camera/front/segmentation/overlay/image_raw; with '
            'several, each has its own folder.'
        ),
    ],
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Folder for the images.')
    ],
    duration: Annotated[
        float | None, typer.Option(help='Seconds to save; default: until interrupted.')
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Save the images of topics to files, without a ROS installation."""
    from drive_segment_ros.nodes.topic_saver import save_topics

    refuse_remote(output, 'live images are saved to a local folder', 'copy it afterwards')
    refuse_existing(output, overwrite=overwrite)
    report = save_topics(topics, output, duration)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        for name, count in report.topics.items():
            typer.echo(f'{count} images of {name}')
        typer.echo(f'{report.images} images in {report.folder}')


@command(kept='compiled kernels are kept; run it again to continue')
def warm_up(
    model: Annotated[
        Path | None,
        typer.Option(parser=model_located, help='Exported model to prepare as well.'),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels of nodes and commands in advance, so that the first start is quick."""
    from offline_training.deploy.warm_up import warm_up as compile_all

    with progress_bar() as update:
        report = compile_all(model, update)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        typer.echo(f'compiled in {report.seconds:.0f} s, kept in {report.kernels}')
        if report.backend:
            typer.echo(f'{model} on {report.backend}')


@command
def doctor(
    bags: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=located, help='Check the cameras of this bag instead of those being published.'
        ),
    ] = None,
    join: Join = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine and its cameras for missing packages, faults and slow settings."""
    from drive_segment_ros.doctor import diagnose

    checks = diagnose()
    # A missing package has been reported; the other checks are still printed.
    with contextlib.suppress(ImportError):
        from drive_segment_ros import doctor_cameras
        from drive_segment_ros.ros.joined_bags import one_drive

        if bags:
            checks = [*checks, *doctor_cameras.check_bags(one_drive(bags, join))]
        else:
            checks = [*checks, *doctor_cameras.check_heard()]
    if as_json:
        print_json({'checks': [dataclasses.asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    if any(check.status == 'problem' for check in checks):
        raise typer.Exit(1)


@command(kept='finished steps are kept in the folder named above')
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            '--output',
            '-o',
            parser=located,
            help='New folder for the results; default: demo_output, _2, ...',
        ),
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(parser=located, help='Bag to use; default: simulated drives.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole sequence: from drives to a trained network, live masks and a report."""
    from offline_training.demo.demo import demo as run_demo

    for path in (output, bag):
        if path is not None:
            refuse_remote(path, 'the demo works on local folders', 'copy it')

    report = run_demo(output, bag)
    if as_json:
        print_json(report)


def _print_checks(checks: list[Any]) -> None:
    colours = {'ok': typer.colors.GREEN, 'hint': typer.colors.YELLOW, 'problem': typer.colors.RED}
    for check in checks:
        status = typer.style(f'{check.status:8}', fg=colours[check.status])
        advice = f' -> {check.advice}' if check.advice else ''
        typer.echo(f'{status} {check.name}: {check.detail}{advice}')
