"""The `drive-segment` command: each subcommand is one short function around library code.

Heavy imports are inside the functions, so that `--help` is quick and a command needs only what it
uses. Results go to standard output, everything else to standard error; with `--json` standard
output is one object. Problems are one line and exit code 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import drive_segment_ros
from drive_segment_ros.errors import DriveSegmentError

app = typer.Typer(
    name='drive-segment',
    help='Semantic segmentation learnt from driving: camera and LiDAR in, no labels needed.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option('--json', help='Print one JSON object and nothing else.')]
Bag = Annotated[Path, typer.Argument(help='Bag folder, .mcap or .db3 file.')]
Params = Annotated[
    Path | None, typer.Option('--params', help='Parameters, YAML with dotted or nested names.')
]
Calibration = Annotated[
    Path | None,
    typer.Option(help='Calibration file, as `inspect --calibration` writes it.'),
]
Dataset = Annotated[Path, typer.Argument(help='Dataset folder, as `extract` writes it.')]
Model = Annotated[
    Path, typer.Argument(help='A run folder, one of its stages, or an exported model.')
]
Frames = Annotated[
    str, typer.Option(help='Frames of each drive to learn from, FIRST:LAST; default: all.')
]
Layout = Annotated[
    str,
    typer.Option(
        '--format',
        help='folder, cityscapes, cityscapes-27, dark-zurich, nighttime-driving, acdc or '
        'acdc-fog, -night, -rain, -snow.',
    ),
]
Zoom = Annotated[
    int, typer.Option(help='Look n times closer, through overlapping windows.', min=1)
]
Assignments = Annotated[
    list[str] | None, typer.Option('--set', metavar='NAME=VALUE', help='Set one parameter.')
]


def main() -> None:
    """Run the command: the entry point."""
    app()


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a subcommand, named like the function, whose errors are one line."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        _log_to_stderr()
        try:
            function(*args, **kwargs)
        except DriveSegmentError as err:
            fail(str(err))
        except BrokenPipeError:
            raise  # the reader of our output has enough, such as `head`; Typer ends quietly
        except OSError as err:
            # Library code names what it was doing; this is what no one expected, such as a full
            # disk under a temporary file.
            where = f'{err.filename}: ' if err.filename else ''
            fail(f'{where}{err.strerror or err}')
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return app.command()(guarded)


def fail(message: str) -> None:
    """End with a one-line error."""
    typer.echo(f'drive-segment: error: {" ".join(message.split())}', err=True)
    raise typer.Exit(1)


def print_json(values: Mapping[str, Any]) -> None:
    """Print a result for machines; paths become strings."""
    typer.echo(json.dumps(values, default=str, allow_nan=False))


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on standard error; the function yielded takes a name, done and total."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield update


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option('--version', help='Print the version.')] = False,
) -> None:
    if version:
        typer.echo(f'drive-segment {drive_segment_ros.__version__}')
        raise typer.Exit


@command
def inspect(
    bag: Bag,
    calibration: Annotated[
        Path | None, typer.Option(help='Write the calibration found to this file.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a bag's topics, rates, clocks and calibration; what is missing and how to mend it."""
    from offline_training.inspect import inspect as inspect_bag
    from offline_training.inspect_table import print_report

    report = inspect_bag(bag, calibration)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print_report(report)


@command
def extract(
    bags: Annotated[list[Path], typer.Argument(help='Bag folders, .mcap or .db3 files.')],
    output: Annotated[Path, typer.Option('--output', '-o', help='The dataset to write to.')],
    camera: Annotated[str, typer.Option(help='Image topic, where there are several.')] = '',
    lidar: Annotated[str, typer.Option(help='PointCloud2 topic, where there are several.')] = '',
    max_offset: Annotated[
        float | None, typer.Option(help='Largest offset of image and sweep that pair, seconds.')
    ] = None,
    calibration: Calibration = None,
    workers: Annotated[int, typer.Option(help='Processes; 0 is one per core.', min=0)] = 0,
    scheduler: Annotated[str, typer.Option(help='Address of a dask scheduler to use.')] = '',
    preview: Annotated[bool, typer.Option('--preview', help='Draw each frame as well.')] = False,
    resume: Annotated[
        bool, typer.Option('--resume', help='Go on with drives that were begun.')
    ] = False,
    params: Params = None,
    assignments: Annotated[
        list[str] | None, typer.Option('--set', metavar='NAME=VALUE', help='Set one parameter.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn bags into a dataset: every image with its objects, found by the LiDAR."""
    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.extract import ExtractOptions, ExtractParameters
    from offline_training.extract import extract as extract_bags

    settings = list(assignments or [])
    if max_offset is not None:
        settings.append(f'sync.max_offset_s={max_offset}')
    parameters = read_parameters(ExtractParameters, params, settings, ros_prefix='frame.')
    options = ExtractOptions(camera, lidar, calibration, workers, scheduler, preview, resume)
    with progress_bar() as on_progress:
        report = extract_bags(bags, output, parameters, options, on_progress)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    typer.echo(
        f'{report.frames} frames from {report.images} images and {report.sweeps} sweeps in '
        f'{report.dataset}, {report.frames_per_second:.1f} frames/s'
    )
    for reason, count in sorted(report.dropped.items()):
        typer.echo(f'  {count} images dropped: {reason}')


@command
def label(
    dataset: Dataset,
    classes: Annotated[int, typer.Option(help='Number of pseudo-classes.')] = 30,
    features: Annotated[
        str, typer.Option(help='auto, descriptor, or a transformers backbone, name or folder.')
    ] = 'auto',
    frames: Frames = '',
    seed: Annotated[int, typer.Option(help='Of the clustering.')] = 0,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Group look-alike objects into pseudo-classes and write a pseudo-label for every frame."""
    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.progress import bar
    from offline_training.pseudo_classes import LabelParameters
    from offline_training.pseudo_classes import label as label_dataset

    given = {'classes': classes, 'features': features, 'frames': frames, 'seed': seed}
    settings = _settings(given, LabelParameters(), assignments)
    report = label_dataset(dataset, read_parameters(LabelParameters, params, settings), bar)
    if as_json:
        print_json(report)
        return
    typer.echo(
        f'{report["segments"]} segments of {report["frames"]} frames in {report["classes"]} '
        f'pseudo-classes by {report["features"]}; {100 * report["labelled_fraction"]:.1f} % of '
        f'the pixels; look at {dataset / "pseudo_classes/gallery"}'
    )


@command
def train(
    dataset: Dataset,
    output: Annotated[Path, typer.Option('--output', '-o', help='The run folder to write.')],
    epochs: Annotated[int | None, typer.Option(help='Passes over the frames.')] = None,
    size: Annotated[str | None, typer.Option(help='tiny, small or base.')] = None,
    frames: Frames = '',
    seed: Annotated[int, typer.Option(help='Of weights, order and augmentation.')] = 0,
    resume: Annotated[bool, typer.Option('--resume', help='Go on with the run.')] = False,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher, then a student that needs only the image; distributed under torchrun."""
    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.train import TrainParameters
    from offline_training.train import train as train_networks

    given = {'training.epochs': epochs, 'size': size, 'frames': frames, 'training.seed': seed}
    settings = _settings(given, TrainParameters(), assignments)
    parameters = read_parameters(TrainParameters, params, settings)
    report = train_networks(dataset, output, parameters, resume)
    if as_json:
        print_json(report)
    else:
        typer.echo(
            f'{report["student"]} after {report["seconds"]:.0f} s, '
            f'{100 * report["data_wait_fraction"]:.1f} % of it waiting for data'
        )


@command
def baseline(
    dataset: Dataset,
    output: Annotated[Path, typer.Option('--output', '-o', help='Folder to write it to.')],
    classes: Annotated[int, typer.Option(help='Number of clusters.')] = 30,
    frames: Frames = '',
    seed: Annotated[int, typer.Option(help='Of the clustering.')] = 0,
    as_json: AsJson = False,
) -> None:
    """Cluster superpixels of the images alone: the figure to beat; score it by `evaluate`."""
    from drive_segment_ros.parameters import from_flat
    from offline_training.baseline import BaselineParameters, make_baseline
    from offline_training.progress import bar

    values = {'classes': classes, 'frames': frames, 'seed': seed}
    make_baseline(dataset, output, from_flat(BaselineParameters, values), bar('reading'))
    if as_json:
        print_json({'model': output, **values})


@command
def export(
    run: Annotated[Path, typer.Argument(help='A run folder, or one of its stages.')],
    output: Annotated[Path, typer.Option('--output', '-o', help='The model folder to write.')],
    precision: Annotated[str, typer.Option(help='Of weights and activations: fp32, fp16.')] = (
        'fp32'
    ),
    height: Annotated[
        int, typer.Option(help="Of the images it will be given, px; default: the network's.")
    ] = 0,
    width: Annotated[int, typer.Option(help='Of the images it will be given, px.')] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a trained network as one ONNX file, from the camera's image to the mask."""
    from offline_training.export import export as export_run

    report = export_run(run, output, precision, height, width)
    if as_json:
        print_json(report)
    else:
        rows, columns = report['input']
        typer.echo(
            f'{report["model"]}: {report["bytes"] / 1e6:.1f} MB in {precision} for images of '
            f'{columns}x{rows}'
        )


@command
def build_engine(
    model: Annotated[Path, typer.Argument(help='A model folder, as `export` writes it.')],
    as_json: AsJson = False,
) -> None:
    """Build a model's TensorRT engine for this machine's GPU, ahead of the first drive."""
    from drive_segment_ros.inference.model import read_model
    from drive_segment_ros.inference.tensorrt_backend import build_engine as build

    exported = read_model(model)
    with progress_bar() as update:
        path = build(exported, update)
    if as_json:
        print_json({'engine': path})
    else:
        typer.echo(str(path))


@command
def evaluate(
    model: Model,
    images: Annotated[Path, typer.Argument(help='Folder of images.')],
    ground_truth: Annotated[Path, typer.Option(help='Folder of labels.')],
    layout: Layout = 'folder',
    frames: Annotated[
        str, typer.Option(help='Which labelled images to score, FIRST:LAST; default: all.')
    ] = '',
    match_frames: Annotated[
        str | None, typer.Option(help='Learn the matching on these images instead.')
    ] = None,
    zoom: Zoom = 1,
    output: Annotated[
        Path | None, typer.Option('--output', '-o', help='Folder for scores and pictures.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model, or a folder of label images, against labelled images, in three ways."""
    from offline_training.evaluate import evaluate as evaluate_model
    from offline_training.evaluation import table
    from offline_training.progress import bar

    report = evaluate_model(
        model, images, ground_truth, layout, frames, match_frames, zoom, output, bar('scoring')
    )
    if as_json:
        print_json(report)
    else:
        typer.echo(table({str(model): report}))
        typer.echo(
            f'K = {report["k"]}, {report["classes_present"]} classes present, '
            f'{report["images"]} images, matching learned on {report["matching_learned_on"]}'
        )


@command
def segment(
    model: Model,
    inputs: Annotated[list[Path], typer.Argument(help='Images, folders, videos, bags.')],
    output: Annotated[Path, typer.Option('--output', '-o', help='Folder for the pictures.')],
    zoom: Zoom = 1,
    as_json: AsJson = False,
) -> None:
    """Write labels, colours, overlays and confidence for images, folders, videos and bags."""
    from offline_training.progress import bar
    from offline_training.segment import segment as segment_inputs

    report = segment_inputs(model, inputs, output, zoom, bar('segmenting'))
    if as_json:
        print_json(report)
        return
    typer.echo(f'{report["images"]} images in {report["output"]}')
    for line in report['skipped']:
        typer.echo(f'  skipped: {line}', err=True)


@command
def name(
    model: Model,
    names: Annotated[
        Path | None, typer.Option(help='YAML with a line such as `7: road` for each class.')
    ] = None,
    images: Annotated[Path | None, typer.Option(help='Folder of labelled images.')] = None,
    ground_truth: Annotated[Path | None, typer.Option(help='Folder of their labels.')] = None,
    layout: Layout = 'folder',
    frames: Annotated[str, typer.Option(help='Labelled images to use, FIRST:LAST.')] = '',
    as_json: AsJson = False,
) -> None:
    """Name pseudo-classes: by hand (--names), or from labelled images (--images)."""
    from offline_training.name import name_by_hand, name_from_labels

    if names is not None and images is None:
        classes = name_by_hand(model, names)
    elif names is None and images is not None and ground_truth is not None:
        classes = name_from_labels(model, images, ground_truth, layout, frames)
    else:
        raise DriveSegmentError('give either --names, or --images and --ground-truth')
    if as_json:
        print_json({'names': [item.name for item in classes]})
    else:
        for number, item in enumerate(classes):
            typer.echo(f'{number:3d}  {item.name}')


@command
def play(
    bag: Bag,
    rate: Annotated[float, typer.Option(help='Speed relative to the recording.')] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Start again at the end.')] = False,
    clock: Annotated[bool, typer.Option('--clock', help='Publish /clock.')] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help='Play this topic; may be repeated. Default: all.')
    ] = None,
    wait: Annotated[
        float | None, typer.Option(help='Longest wait for subscribers, seconds.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a bag over ROS 2 at its own pace, without a ROS installation."""
    from drive_segment_ros.nodes.bag_player import PlayParameters
    from drive_segment_ros.nodes.bag_player import play as play_bag
    from drive_segment_ros.parameters import from_flat

    values = {'rate': rate, 'loop': loop, 'clock': clock, 'topics': topic or []}
    if wait is not None:
        values['wait_for_subscribers'] = wait
    report = play_bag(bag, from_flat(PlayParameters, values))
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    typer.echo(f'{sum(report.sent.values())} messages in {report.duration_s:.1f} s')
    for name, reason in report.skipped.items():
        typer.echo(f'  {name} not played: {reason}')


@command
def live(
    node: Annotated[str, typer.Option(help='Which node to run.')] = 'proposals',
    params: Params = None,
    calibration: Calibration = None,
    camera: Annotated[str, typer.Option(help="The camera's namespace.")] = '',
    remap: Annotated[
        list[str] | None, typer.Option('--remap', '-r', metavar='FROM:=TO', help='Rename a topic.')
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help='Seconds to run; default: until interrupted.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the nodes, without a ROS installation, until interrupted."""
    from drive_segment_ros.nodes.live import LiveOptions
    from drive_segment_ros.nodes.live import live as run_live

    options = LiveOptions(node, params, calibration, camera, remap or (), duration)
    summary = run_live(options)
    if as_json:
        print_json(summary)
    else:
        for name, value in summary.items():
            typer.echo(f'{name}: {value}')


@command
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: what is missing, what could be faster."""
    from drive_segment_ros.doctor import diagnose

    checks = diagnose()
    if as_json:
        print_json({'checks': [dataclasses.asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    if any(check.status == 'problem' for check in checks):
        raise typer.Exit(1)


@command
def bench(
    suite: Annotated[str, typer.Argument(help='Such as lidar, extract, node or segments.')],
    quick: Annotated[bool, typer.Option('--quick', help='A few runs only: a smoke test.')] = False,
    as_json: AsJson = False,
) -> None:
    """Time the package on this machine; needs the source tree."""
    results = _benchmark(suite)(quick)
    if as_json:
        print_json(results)
    else:
        _print_results(results['results'])


@command
def simulate(
    output: Annotated[
        Path, typer.Option('--output', '-o', help='The bag to write; its truth lies beside it.')
    ],
    seed: Annotated[int | None, typer.Option(help='Every seed is another town.')] = None,
    duration: Annotated[float | None, typer.Option(help='Seconds to drive.')] = None,
    lidar: Annotated[
        str | None, typer.Option(help='pandar64, hdl64, vlp32, vlp16 or solid_state.')
    ] = None,
    camera: Annotated[str | None, typer.Option(help='pinhole, plumb_bob or equidistant.')] = None,
    size: Annotated[str | None, typer.Option(metavar='WxH', help='Of the images.')] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar='NAME=VALUE', help='What is wrong with the recording; repeatable.'),
    ] = None,
    preview: Annotated[
        bool, typer.Option('--preview', help='Also write a picture for people each second.')
    ] = False,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Make a bag of a drive through a made-up town, with truth to the pixel beside it."""
    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.simulator import SimulatorParameters
    from offline_training.simulator import simulate as simulate_drive

    given = {'seed': seed, 'duration_s': duration, 'lidar.model': lidar, 'camera.model': camera}
    if size is not None:
        width, _, height = size.partition('x')
        if not (width.isdigit() and height.isdigit()):
            raise DriveSegmentError(f'--size {size} is not of the form 960x540')
        given |= {'camera.width': int(width), 'camera.height': int(height)}
    settings = _settings(given, SimulatorParameters(), assignments)
    settings += [f'fault.{setting}' for setting in fault or []]
    parameters = read_parameters(SimulatorParameters, params, settings)
    with progress_bar() as update:
        summary = simulate_drive(
            output, parameters, lambda done, total: update('simulating', done, total), preview
        )
    if as_json:
        print_json({**dataclasses.asdict(summary), 'frames_per_second': summary.frames_per_second})
    else:
        typer.echo(
            f'{summary.bag}: {summary.images} images, {summary.sweeps} sweeps, '
            f'{summary.frames_per_second:.1f} a second; truth in {summary.truth}'
        )


@command
def demo(
    output: Annotated[Path, typer.Option('--output', '-o', help='Folder for the results.')],
    bag: Annotated[Path | None, typer.Option(help='A bag; default: a simulated drive.')] = None,
    as_json: AsJson = False,
) -> None:
    """Go through everything once: extraction, live run, pictures."""
    from offline_training.demo import demo as run_demo

    report = run_demo(output, bag)
    if as_json:
        print_json(report)


def _settings(given: Mapping[str, Any], defaults: Any, assignments: list[str] | None) -> list[str]:
    """Return options as assignments, those left at their default aside: a file may set them."""
    from drive_segment_ros.parameters import to_flat

    known = to_flat(defaults)
    options = {name: value for name, value in given.items() if value not in (None, known[name])}
    return [f'{name}={json.dumps(value)}' for name, value in options.items()] + (assignments or [])


def _benchmark(suite: str) -> Callable[[bool], dict[str, Any]]:
    """Return `run` of a file in the source tree's benchmarks folder, which is not installed."""
    import importlib.util

    folder = Path(drive_segment_ros.__file__).parents[1] / 'benchmarks'
    path = folder / f'{suite}.py'
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob('[a-z]*.py'))
        raise DriveSegmentError(
            f'no benchmark {suite!r} in {folder}; there are: {", ".join(known) or "none"} '
            '(they come with the source tree)'
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


def _print_checks(checks: list[Any]) -> None:
    colours = {'ok': typer.colors.GREEN, 'hint': typer.colors.YELLOW, 'problem': typer.colors.RED}
    for check in checks:
        status = typer.style(f'{check.status:8}', fg=colours[check.status])
        advice = f' -> {check.advice}' if check.advice else ''
        typer.echo(f'{status} {check.name}: {check.detail}{advice}')


def _log_to_stderr() -> None:
    """Send warnings to standard error in the command's form."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('drive-segment: %(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


if __name__ == '__main__':
    main()
