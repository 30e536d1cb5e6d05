"""Commands for recordings: inspect, extract, repair, play and simulate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from drive_segment_ros.commands.command import INTERRUPTED, command, end_partly_done, print_json
from drive_segment_ros.commands.options import (
    AsJson,
    Assignments,
    Bags,
    Calibration,
    Dataset,
    Join,
    Overwrite,
    Params,
    Scheduler,
    Workers,
    as_assignments,
    located,
    refuse_remote,
)
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.progress import progress_bar

Odometry = Annotated[str, typer.Option(help='Odometry or tf topic, if there are several.')]


@command
def inspect(
    bags: Bags,
    join: Join = False,
    calibration: Annotated[
        Path | None, typer.Option(parser=located, help='Write the calibration to this file.')
    ] = None,
    odometry: Odometry = '',
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show a bag's topics, rates, clocks and calibration, and how to fix what is missing."""
    from drive_segment_ros.ros.joined_bags import one_drive
    from offline_training.bags.inspect import inspect as inspect_bag
    from offline_training.bags.inspect_table import print_report

    if calibration is not None:
        refuse_existing(calibration, overwrite=overwrite)
    report = inspect_bag(one_drive(bags, join), calibration, odometry)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print_report(report)


@command(
    kept='the frames written are kept in {output}; continue by the same command with --resume'
)
def extract(
    bags: Annotated[
        list[Path],
        typer.Argument(parser=located, help='Bag folders, .mcap, .db3 or ROS 1 .bag files.'),
    ],
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Dataset folder to write.')
    ],
    camera: Annotated[
        list[str] | None,
        typer.Option(help='Name, namespace or image topic; may be repeated; default: all.'),
    ] = None,
    lidar: Annotated[str, typer.Option(help='PointCloud2 topic, if there are several.')] = '',
    join: Join = False,
    odometry: Odometry = '',
    max_offset: Annotated[
        float | None,
        typer.Option(
            help='Largest time offset of an image and its sweep, seconds; default: 0.06.'
        ),
    ] = None,
    calibration: Calibration = None,
    frames: Annotated[
        str,
        typer.Option(
            help='Images of the first camera to extract, FIRST:LAST, and of the others those '
            'recorded at the same time; default: all.'
        ),
    ] = '',
    workers: Workers = 0,
    scheduler: Scheduler = '',
    preview: Annotated[bool, typer.Option('--preview', help='Also draw each frame.')] = False,
    resume: Annotated[bool, typer.Option('--resume', help='Continue unfinished drives.')] = False,
    params: Params = None,
    assignments: Annotated[
        list[str] | None, typer.Option('--set', metavar='NAME=VALUE', help='Set one parameter.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Extract a dataset from bags: images with the object segments found by the LiDAR."""
    from offline_training.common.workers import start_fork_server

    if workers != 1 and not scheduler:
        # It imports what workers need while this process does the same.
        start_fork_server(['offline_training.bags.preloaded'])
    from drive_segment_ros.frame.parameters import FrameParameters
    from drive_segment_ros.frame.reasons import IMAGE_REASONS
    from drive_segment_ros.parameter_files import read_parameters
    from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
    from offline_training.bags.extract import ExtractOptions
    from offline_training.bags.extract import extract as extract_bags
    from offline_training.common.frame_selection import parse_slice

    parse_slice(frames)  # raises an error if it is invalid
    settings = list(assignments or [])
    if max_offset is not None:
        settings.append(f'sync.max_offset_s={max_offset}')
    # Given options apply to all bags; other parameters may be declared by each bag.
    read_parameters(FrameParameters, params, settings)

    def parameters(declared: Mapping[str, Any]) -> FrameParameters:
        return read_parameters(FrameParameters, params, settings, declared)

    options = ExtractOptions(
        camera or [],
        lidar,
        odometry,
        calibration,
        workers,
        scheduler,
        preview,
        resume,
        join,
        frames,
    )
    with progress_bar() as on_progress:
        report = extract_bags(bags, output, parameters, options, on_progress)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        typer.echo(
            f'{report.frames} frames from {report.images} images and {report.sweeps} sweeps in '
            f'{report.dataset}, {report.frames_per_second:.1f} frames/s'
        )
        for reason, count in sorted(report.dropped.items()):
            typer.echo(f'  {count} images dropped, {reason}: {IMAGE_REASONS[reason]}')
        for source, count in report.segments_from.items():
            typer.echo(f'  segments of {count} sweeps by {SEGMENTS_FROM[source]}')
    end_partly_done(report.failed)


@command(kept='files removed so far are gone; run it again')
def repair(dataset: Dataset, as_json: AsJson = False) -> None:
    """Remove incomplete files after a crash or power cut from a dataset, and report them."""
    from drive_segment_ros.dataset.repair import repair as repair_dataset

    refuse_remote(dataset, 'a repair locks and renames files', 'repair it before it is copied')
    report = repair_dataset(dataset)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        for line in report.repaired:
            typer.echo(line)
        typer.echo(f'{report.frames} complete frames in {report.drives} drives')
        for line in report.problems:
            typer.echo(f'drive-segment: not changed: {line}', err=True)
    if report.problems:
        raise typer.Exit(1)


@command
def play(
    bags: Bags,
    join: Join = False,
    rate: Annotated[float, typer.Option(help='Speed relative to the recording.')] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Start again at the end.')] = False,
    clock: Annotated[bool, typer.Option('--clock', help='Publish /clock.')] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help='Topic to play; may be repeated; default: all.')
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(help='Longest time to wait for subscribers, seconds; default: 5.'),
    ] = None,
    wait_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar='TOPIC', help='Also wait for a subscriber of this topic; may be repeated.'
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play a bag over ROS 2 in real time, without a ROS installation."""
    from drive_segment_ros.nodes.bag_player import PlayParameters
    from drive_segment_ros.nodes.bag_player import play as play_bag
    from drive_segment_ros.parameters import from_flat
    from drive_segment_ros.ros.joined_bags import one_drive

    values = {
        'rate': rate,
        'loop': loop,
        'clock': clock,
        'topics': topic or [],
        'wait_for_topics': wait_for or [],
    }
    if wait is not None:
        values['wait_for_subscribers'] = wait
    with progress_bar() as update:
        report = play_bag(one_drive(bags, join), from_flat(PlayParameters, values), update)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        typer.echo(f'{sum(report.sent.values())} messages in {report.duration_s:.1f} s')
        for name, reason in report.skipped.items():
            typer.echo(f'  {name} not played: {reason}')
        for name in report.unmatched:
            typer.echo(f'  {name} had no subscriber when playing began')
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)


@command(
    kept='the drive so far is in {output}, its truth beside it; remove both to simulate it again'
)
def simulate(
    output: Annotated[
        Path,
        typer.Option(
            '--output',
            '-o',
            parser=located,
            help='Bag to write; the ground truth is written next to it.',
        ),
    ],
    seed: Annotated[
        int | None, typer.Option(help='Each seed is another town; default: 0.')
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help='Duration in seconds; default: 10.')
    ] = None,
    lidar: Annotated[
        str | None,
        typer.Option(help='LiDAR: pandar64 (default), hdl64, vlp32, vlp16 or solid_state.'),
    ] = None,
    rig: Annotated[
        str | None, typer.Option(help='Cameras of the vehicle: front (default), three or six.')
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help='Camera model: pinhole (default), plumb_bob or equidistant.')
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar='WxH', help='Image size; default: 960x540.')
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar='NAME=VALUE', help='Fault of the recording; may be repeated.'),
    ] = None,
    preview: Annotated[
        bool, typer.Option('--preview', help='Also write a preview picture each second.')
    ] = False,
    workers: Workers = 0,
    scheduler: Scheduler = '',
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a drive through a town: a bag, and next to it ground truth for every pixel."""
    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.simulator import SimulatorParameters
    from offline_training.simulator import simulate as simulate_drive

    given = {
        'seed': seed,
        'duration_s': duration,
        'lidar.model': lidar,
        'rig': rig,
        'camera.model': camera,
    }
    if size is not None:
        sides = re.fullmatch(r'([0-9]{1,9})x([0-9]{1,9})', size)
        if sides is None:
            raise DriveSegmentError(f'--size {size} is not of the form 960x540')
        given |= {'camera.width': int(sides[1]), 'camera.height': int(sides[2])}
    settings = as_assignments(given, assignments)
    settings += [f'fault.{setting}' for setting in fault or []]
    parameters = read_parameters(SimulatorParameters, params, settings)
    refuse_remote(output, 'a drive is simulated to a local folder', 'copy it and its truth after')
    with progress_bar() as update:
        summary = simulate_drive(
            output,
            parameters,
            lambda done, total: update('simulating', done, total),
            preview,
            workers,
            scheduler,
        )
    if as_json:
        print_json({**dataclasses.asdict(summary), 'frames_per_second': summary.frames_per_second})
    else:
        typer.echo(
            f'{summary.bag}: {summary.images} images, {summary.sweeps} sweeps, '
            f'{summary.frames_per_second:.1f} a second; truth in {summary.truth}'
        )
