"""Options that several commands share, each with one help text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from drive_segment_ros.commands.command import fail
from drive_segment_ros.errors import DriveSegmentError, StorageError
from drive_segment_ros.storage import is_remote, location


def located(text: str) -> Path:
    """Return the path of an option, a `UPath` for a URL; an invalid URL is a one-line error."""
    try:
        return location(text)
    except DriveSegmentError as err:
        fail(str(err))


def model_located(text: str) -> Path:
    """Return a model's path, fetched from a hub or a web server; errors are one line."""
    from drive_segment_ros.inference.model_source import model_location

    try:
        return model_location(text)
    except DriveSegmentError as err:
        fail(str(err))


def refuse_remote(path: Path, what: str, instead: str) -> None:
    """Refuse a URL for a command that needs local files, with a one-line error.

    Raises:
        StorageError: if it is a URL.
    """
    if is_remote(path):
        raise StorageError(f'{path} is not on this machine and {what}; {instead}')


AsJson = Annotated[bool, typer.Option('--json', help='Print one JSON object and nothing else.')]
Bags = Annotated[
    list[Path],
    typer.Argument(
        parser=located, help='Bag folder, .mcap, .db3 or ROS 1 .bag file; several with --join.'
    ),
]
Join = Annotated[
    bool, typer.Option('--join', help='All bags are parts of one drive, recorded separately.')
]
Params = Annotated[
    Path | None,
    typer.Option('--params', parser=located, help='Parameters, YAML with dotted or nested names.'),
]
Calibration = Annotated[
    Path | None,
    typer.Option(parser=located, help='Calibration file, written by `inspect --calibration`.'),
]
Dataset = Annotated[
    Path, typer.Argument(parser=located, help='Dataset folder, written by `extract`.')
]
Datasets = Annotated[
    list[Path],
    typer.Argument(
        parser=located, help='Dataset folders, as `extract` writes them; one or several.'
    ),
]
Cameras = Annotated[
    list[str] | None,
    typer.Option('--camera', help='Camera to use, by name; may be repeated; default: all.'),
]
Labels = Annotated[
    str,
    typer.Option(
        help='Label set, by name, in DATASET/label_sets; default: the one next to the frames.'
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        parser=model_located,
        help='A run folder, its teacher or student folder, or an exported model: a folder, a URL, '
        'or hf://OWNER/NAME[@REVISION].',
    ),
]
ExportedModel = Annotated[
    Path,
    typer.Argument(
        parser=model_located,
        help='A model written by `export`: a folder, a URL, or hf://OWNER/NAME[@REVISION].',
    ),
]
Overwrite = Annotated[bool, typer.Option('--overwrite', help='Replace existing results.')]
Frames = Annotated[
    str | None,
    typer.Option(
        help='Frames of each camera of each drive to train on, FIRST:LAST; default: all.'
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        '--format',
        help='folder, cityscapes, cityscapes-27, dark-zurich, nighttime-driving, acdc or '
        'acdc-fog, -night, -rain, -snow.',
    ),
]
LabelSpace = Annotated[
    str,
    typer.Option(
        help='Classes to score: own (those of the ground truth), cityscapes-19, or common-12, '
        'which all published sets have.'
    ),
]
Zoom = Annotated[
    int, typer.Option(help='Magnify n times, with overlapping sliding windows.', min=1)
]
Workers = Annotated[int, typer.Option(help='Number of processes; 0 for one per core.', min=0)]
NetworkWorkers = Annotated[
    int,
    typer.Option(
        '--workers',
        help='Number of processes; 0 for one per core, fewer for few images, 1 on a GPU.',
        min=0,
    ),
]
Scheduler = Annotated[str, typer.Option(help='Address of a dask scheduler to use instead.')]
Assignments = Annotated[
    list[str] | None, typer.Option('--set', metavar='NAME=VALUE', help='Set one parameter.')
]


def as_assignments(given: Mapping[str, Any], assignments: list[str] | None) -> list[str]:
    """Return the given options as assignments; others (None) may be set by a file."""
    options = {name: value for name, value in given.items() if value is not None}
    return [f'{name}={json.dumps(value)}' for name, value in options.items()] + (assignments or [])
