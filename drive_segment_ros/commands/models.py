"""Commands for a trained model: inference, class names, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from drive_segment_ros.commands.command import command, end_partly_done, print_json, say
from drive_segment_ros.commands.options import (
    AsJson,
    Bags,
    Calibration,
    ExportedModel,
    Join,
    LabelSpace,
    Layout,
    Model,
    NetworkWorkers,
    Overwrite,
    Scheduler,
    Zoom,
    located,
    refuse_remote,
)
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.progress import progress_bar

_OUTPUTS = ('pictures', 'bag', 'video')


@command(kept='finished pictures or masks are kept; continue by the same command with --resume')
def segment(
    model: Model,
    inputs: Annotated[
        list[Path], typer.Argument(parser=located, help='Images, folders, videos, bags.')
    ],
    output: Annotated[
        Path,
        typer.Option(
            '--output',
            '-o',
            parser=located,
            help='Folder for the pictures, or bag or video to write.',
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help='Output: pictures, bag (masks and painted clouds as the segmentation node '
            'publishes them), or video (overlays; .mp4, .webm, or a folder for several cameras).'
        ),
    ] = 'pictures',
    merge: Annotated[
        bool, typer.Option('--merge', help="With --to bag: also copy the drive's messages.")
    ] = False,
    join: Join = False,
    zoom: Zoom = 1,
    resume: Annotated[
        bool, typer.Option('--resume', help='Continue: skip images whose pictures exist.')
    ] = False,
    overwrite: Overwrite = False,
    workers: NetworkWorkers = 0,
    scheduler: Scheduler = '',
    as_json: AsJson = False,
) -> None:
    """Segment images, folders, videos and bags; write pictures, a bag of masks, or videos."""
    from drive_segment_ros.progress import bar
    from offline_training.deploy.segment import segment as segment_inputs
    from offline_training.deploy.segment_job import PICTURES

    if to not in _OUTPUTS:
        raise DriveSegmentError(f'--to {to}: choose from {", ".join(_OUTPUTS)}')
    if merge and to != 'bag':
        raise DriveSegmentError('--merge copies messages into a bag; give --to bag with it')
    options: dict[str, Any] = {
        # With --overwrite nothing is resumed.
        'resume': resume and not overwrite,
        'workers': workers,
        'scheduler': scheduler,
    }
    if to == 'pictures':
        pictures = [output / name for name in PICTURES]
        instead = 'continue by --resume, or choose another output'
        refuse_existing(*pictures, overwrite=overwrite or resume, instead=instead)
        report = segment_inputs(model, inputs, output, zoom, bar('segmenting'), join, **options)
    else:
        report = _recording(model, inputs, output, to, merge, join, zoom, overwrite, options)
    if as_json:
        print_json(report)
    else:
        kept = f' ({report["kept"]} existed)' if report['kept'] else ''
        typer.echo(f'{report["images"]} images in {report["output"]}{kept}')
        for video, frames in report.get('videos', {}).items():
            typer.echo(f'  {video}: {frames} frames')
        if 'clouds' in report:
            typer.echo(f'  {report["masks"]} masks, {report["clouds"]} painted clouds')
        for line in report['skipped']:
            typer.echo(f'  skipped: {line}', err=True)
    end_partly_done(report['failed'])


def _recording(
    model: Path,
    inputs: list[Path],
    output: Path,
    to: str,
    merge: bool,
    join: bool,
    zoom: int,
    overwrite: bool,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Segment into a bag or videos."""
    from drive_segment_ros.progress import bar
    from drive_segment_ros.ros.joined_bags import one_drive
    from offline_training.deploy import segment_recording

    refuse_remote(output, f'a {to} is written to a local path', 'copy it afterwards')
    refuse_existing(output, overwrite=overwrite)
    if to == 'bag':
        drive = one_drive(inputs, join)
        return segment_recording.segment_to_bag(model, drive, output, merge, zoom, bar, **options)
    return segment_recording.segment_to_video(model, inputs, output, join, zoom, bar, **options)


@command
def paint(
    model: ExportedModel,
    bags: Bags,
    output: Annotated[
        Path,
        typer.Option('--output', '-o', parser=located, help='Picture to write, .png or .jpg.'),
    ],
    frame: Annotated[int, typer.Option(help='Index of the pair of image and sweep.', min=0)] = 0,
    join: Join = False,
    camera: Annotated[
        str, typer.Option(help='Name, namespace or image topic, if there are several.')
    ] = '',
    lidar: Annotated[str, typer.Option(help='Point cloud topic.')] = '',
    calibration: Calibration = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw the output of the segmentation node: the overlay and the painted cloud."""
    from drive_segment_ros.ros.joined_bags import one_drive
    from offline_training.deploy.paint import paint as draw

    refuse_existing(output, overwrite=overwrite)
    report = draw(model, one_drive(bags, join), output, frame, camera, lidar, calibration)
    if as_json:
        print_json(report)
    else:
        typer.echo(f'{report["picture"]}: {report["points"]} points, motion {report["motion"]}')


@command(handles_signals=True)
def web(
    model: Model,
    host: Annotated[
        str, typer.Option(help='Address to listen on; default: this machine only.')
    ] = ('127.0.0.1'),
    port: Annotated[int, typer.Option(help='Port to listen on.', min=1, max=65535)] = 7860,
    open_browser: Annotated[
        bool, typer.Option('--open', help='Open the page in a browser.')
    ] = False,
    examples: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Folder of example images; default: some from the cache of the run.',
        ),
    ] = None,
    naming: Annotated[
        bool,
        typer.Option('--name', help='Show the pseudo-classes of a run and name them instead.'),
    ] = False,
    dataset: Annotated[
        Path | None,
        typer.Option(
            parser=located, help='With --name: the labelled dataset, if the run has no pictures.'
        ),
    ] = None,
) -> None:
    """Serve a web page: segment images and videos, or name the classes of a run (--name)."""
    if dataset is not None and not naming:
        raise DriveSegmentError('--dataset has no effect without --name')
    if examples is not None and naming:
        raise DriveSegmentError('--examples has no effect with --name')
    if naming:
        from offline_training.report.naming import serve_naming

        serve_naming(model, dataset, host, port, open_browser, say)
    else:
        from offline_training.deploy.web import serve

        serve(model, host, port, open_browser, examples, say)


@command
def name(
    model: Annotated[
        Path, typer.Argument(parser=located, help='A run folder, or one of its stages.')
    ],
    names: Annotated[
        Path | None,
        typer.Option(parser=located, help='YAML file with a line like `7: road` for each class.'),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(parser=located, help='Folder of labelled images, or a drive or dataset.'),
    ] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(parser=located, help='Folder of their labels.')
    ] = None,
    layout: Layout = 'folder',
    frames: Annotated[str, typer.Option(help='Labelled images to use, FIRST:LAST.')] = '',
    label_space: LabelSpace = 'own',
    overwrite: Annotated[
        bool, typer.Option('--overwrite', help='Replace existing names.')
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Name pseudo-classes: by hand (--names), or from labelled images (--images)."""
    from offline_training.evaluation.name import name_by_hand, name_from_labels

    if names is not None and images is None and ground_truth is None and not frames:
        classes = name_by_hand(model, names, overwrite)
    elif names is None and images is not None and ground_truth is not None:
        classes = name_from_labels(
            model, images, ground_truth, layout, frames, overwrite, label_space
        )
    else:
        raise DriveSegmentError('give either --names, or --images and --ground-truth')
    if as_json:
        print_json({'names': [item.name for item in classes]})
    else:
        for number, item in enumerate(classes):
            typer.echo(f'{number:3d}  {item.name}')


@command(kept='run it again')
def export(
    run: Annotated[
        Path, typer.Argument(parser=located, help='A run folder, or one of its stages.')
    ],
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Model folder to write.')
    ],
    precision: Annotated[
        str,
        typer.Option(
            help='Precision of weights and activations: fp32, fp16, int8, or auto for the fastest '
            'on this machine.'
        ),
    ] = 'fp32',
    calibrate: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Dataset, images, video or bag to calibrate int8; default: the training images '
            'of the run.',
        ),
    ] = None,
    height: Annotated[
        int,
        typer.Option(
            help="Height of the camera's images, px, for a camera with another aspect ratio than "
            "the training camera; default: the network's input."
        ),
    ] = 0,
    width: Annotated[
        int, typer.Option(help="Width of the camera's images, px; see --height.")
    ] = 0,
    classes: Annotated[
        int,
        typer.Option(
            help='Number of classes to predict: the most similar are merged; default: all.', min=0
        ),
    ] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Export a trained network as one ONNX file, from camera image to mask, with a model card."""
    from drive_segment_ros.inference.model import DESCRIPTION_FILE, ONNX_FILE
    from offline_training.deploy.export import export as export_run
    from offline_training.deploy.model_card import CARD_FILE

    files = (ONNX_FILE, DESCRIPTION_FILE, CARD_FILE)
    refuse_existing(*(output / name for name in files), overwrite=overwrite)
    report = export_run(run, output, precision, height, width, calibrate, classes)
    if as_json:
        print_json(report)
    else:
        rows, columns = report['input']
        typer.echo(
            f'{report["model"]}: {report["bytes"] / 1e6:.1f} MB in {report["precision"]} for '
            f'images of {columns}x{rows}'
        )
        if report['reason']:
            typer.echo(f'{report["precision"]}, as {report["reason"]}')


@command
def build_engine(
    model: ExportedModel,
    as_json: AsJson = False,
) -> None:
    """Build a model's TensorRT engine for this machine's GPU in advance."""
    from drive_segment_ros.inference.model import read_model
    from drive_segment_ros.inference.tensorrt_backend import build_engine as build

    exported = read_model(model)
    with progress_bar() as update:
        path = build(exported, update)
    if as_json:
        print_json({'engine': path})
    else:
        typer.echo(str(path))
