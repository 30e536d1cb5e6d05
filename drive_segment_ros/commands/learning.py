"""Commands for learning: pseudo-labels, pretraining, training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from drive_segment_ros.commands.command import command, print_json
from drive_segment_ros.commands.options import (
    AsJson,
    Assignments,
    Cameras,
    Datasets,
    Frames,
    Labels,
    Overwrite,
    Params,
    Scheduler,
    Workers,
    as_assignments,
    located,
    refuse_remote,
)
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.storage import is_remote


@command(kept='the pseudo-labels may be of two runs; run it again')
def label(
    datasets: Datasets,
    classes: Annotated[
        int | None, typer.Option(help='Number of pseudo-classes; default: 30.')
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help='auto (default), descriptor, or name or folder of a transformers backbone.'
        ),
    ] = None,
    frames: Frames = None,
    camera: Cameras = None,
    seed: Annotated[int | None, typer.Option(help='Seed of the clustering; default: 0.')] = None,
    labels: Labels = '',
    like: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Dataset or run whose class numbers and names are kept; new ones are appended.',
        ),
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = '',
    params: Params = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Cluster segments into pseudo-classes and write pseudo-labels for every frame."""
    from drive_segment_ros.dataset.label_sets import check_set_name
    from drive_segment_ros.parameter_files import read_parameters
    from drive_segment_ros.progress import bar
    from offline_training.pseudo_labels.assignment import LabelParameters
    from offline_training.pseudo_labels.pseudo_classes import label as label_dataset
    from offline_training.pseudo_labels.pseudo_classes import label_folders
    from offline_training.report.naming import write_gallery_page

    check_set_name(labels)
    refuse_existing(
        *label_folders(datasets, labels),
        overwrite=overwrite,
        instead='write another set by --labels NAME',
    )
    given = {
        'classes': classes,
        'features': features,
        'frames': frames,
        'cameras': camera or None,
        'seed': seed,
    }
    settings = as_assignments(given, assignments)
    parameters = read_parameters(LabelParameters, params, settings)
    report = label_dataset(datasets, parameters, bar, workers, scheduler, labels, like)
    pages = [write_gallery_page(dataset, labels) for dataset in datasets]
    if as_json:
        print_json(report)
        return
    new = f' ({report["new_classes"]} of them new)' if like is not None else ''
    typer.echo(
        f'{report["segments"]} segments of {report["frames"]} frames in {report["classes"]} '
        f'pseudo-classes{new} by {report["features"]}; {100 * report["labelled_fraction"]:.1f} % '
        f'of the pixels; see {pages[0]}'
    )


@command(
    kept='the last checkpoint is kept in {output}; continue by the same command with --resume'
)
def pretrain(
    images: Annotated[
        list[Path],
        typer.Argument(
            parser=located, help='Images, folders of images, drives or datasets; no labels needed.'
        ),
    ],
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Folder to write weights to.')
    ],
    epochs: Annotated[
        int | None, typer.Option(help='Passes over the images; default: 40.')
    ] = None,
    size: Annotated[str | None, typer.Option(help='tiny (default), small or base.')] = None,
    seed: Annotated[
        int | None, typer.Option(help='Seed of weights, order and views; default: 0.')
    ] = None,
    resume: Annotated[bool, typer.Option('--resume', help='Continue the run.')] = False,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Pretrain an encoder on images alone, for `train --initial` and `label --features`."""
    from drive_segment_ros.parameter_files import read_parameters
    from drive_segment_ros.staging import renamed, staged_output
    from offline_training.pretraining.pretrain import PretrainParameters
    from offline_training.pretraining.pretrain import pretrain as pretrain_encoder

    settings = as_assignments({'epochs': epochs, 'size': size, 'seed': seed}, assignments)
    parameters = read_parameters(PretrainParameters, params, settings)
    _refuse_shared_url(output)
    with staged_output(
        output,
        'model.safetensors',
        resume=resume,
        every_s=max(parameters.checkpoint_s, 1.0),
        leave_out='cache/*',
    ) as run:
        report = renamed(pretrain_encoder(images, run, parameters, resume), run, output)
    if os.environ.get('RANK', '0') != '0':
        return  # Only one of torchrun's processes prints.
    if as_json:
        print_json(report)
    else:
        typer.echo(
            f'{report["weights"]} from {report["images"]} images after {report["seconds"]:.0f} s; '
            f'loss {report["loss"]:.3f}, spread of the features {report["spread"]:.3f}'
        )


@command(
    kept='the last checkpoint is kept in {output}; continue by the same command with --resume'
)
def train(
    datasets: Datasets,
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Run folder to write.')
    ],
    epochs: Annotated[
        int | None, typer.Option(help='Passes over the frames; default: 80.')
    ] = None,
    size: Annotated[
        str | None, typer.Option(help='Network size: tiny (default), small or base.')
    ] = None,
    frames: Frames = None,
    camera: Cameras = None,
    seed: Annotated[
        int | None, typer.Option(help='Seed of weights, order and augmentation; default: 0.')
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(
            parser=located,
            help='Images, folders of images, or datasets of other cameras and drives, without '
            'labels: the student is also trained on the predictions of its teacher there; may be '
            'repeated.',
        ),
    ] = None,
    labels: Labels = '',
    initial: Annotated[
        str | None,
        typer.Option(
            help='Encoder to start from: output of `pretrain`, or a transformers checkpoint, '
            'folder or name.'
        ),
    ] = None,
    resume: Annotated[bool, typer.Option('--resume', help='Continue the run.')] = False,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher, then a student from its predictions; distributed under torchrun."""
    from drive_segment_ros.parameter_files import read_parameters
    from drive_segment_ros.staging import renamed, staged_output
    from offline_training.training.train import TrainParameters
    from offline_training.training.train import train as train_networks

    given = {
        'training.epochs': epochs,
        'size': size,
        'frames': frames,
        'cameras': camera or None,
        'training.seed': seed,
        'initial_weights': initial,
    }
    settings = as_assignments(given, assignments)
    parameters = read_parameters(TrainParameters, params, settings)
    _refuse_shared_url(output)
    with staged_output(
        output,
        'student*/model.safetensors',
        resume=resume,
        every_s=max(parameters.training.checkpoint_s, 1.0),
        leave_out='cache/*',
    ) as run:
        made = train_networks(
            datasets, run, parameters, resume, unlabelled=unlabelled or (), labels=labels
        )
        report = renamed(made, run, output)
    if os.environ.get('RANK', '0') != '0':
        return  # Only one of torchrun's processes prints.
    if as_json:
        print_json(report)
    else:
        typer.echo(
            f'{report["student"]} after {report["seconds"]:.0f} s, '
            f'{100 * report["data_wait_fraction"]:.1f} % of it waiting for data'
        )


def _refuse_shared_url(output: Path) -> None:
    if is_remote(output) and os.environ.get('WORLD_SIZE', '1') != '1':
        refuse_remote(
            output, 'several processes share the run', 'train to a folder, copy it after'
        )
