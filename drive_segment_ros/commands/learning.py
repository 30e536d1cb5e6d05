"""Commands for training and evaluation."""

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
    Join,
    Labels,
    LabelSpace,
    Layout,
    Model,
    NetworkWorkers,
    Overwrite,
    Params,
    Scheduler,
    Workers,
    Zoom,
    as_assignments,
    located,
    refuse_remote,
)
from drive_segment_ros.errors import ParameterError
from drive_segment_ros.outputs import refuse_existing
from drive_segment_ros.storage import is_remote

TRUTH_HELP = 'Folder of labels named like the images; with several cameras, a folder for each.'


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


@command(kept='run it again')
def baseline(
    datasets: Datasets,
    output: Annotated[
        Path, typer.Option('--output', '-o', parser=located, help='Folder to write.')
    ],
    classes: Annotated[int, typer.Option(help='Number of clusters.')] = 30,
    frames: Frames = None,
    camera: Cameras = None,
    seed: Annotated[int, typer.Option(help='Seed of the clustering.')] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compute the baseline, a clustering of image superpixels; score it with `evaluate`."""
    from drive_segment_ros.parameters import from_flat
    from drive_segment_ros.progress import bar
    from offline_training.evaluation.baseline import (
        BASELINE_FILE,
        BaselineParameters,
        make_baseline,
    )

    refuse_existing(output / BASELINE_FILE, overwrite=overwrite)
    values = {'classes': classes, 'frames': frames or '', 'cameras': camera or [], 'seed': seed}
    make_baseline(datasets, output, from_flat(BaselineParameters, values), bar('reading'))
    if as_json:
        print_json({'model': output, **values})


@command
def evaluate(
    model: Model,
    images: Annotated[
        Path, typer.Argument(parser=located, help='Folder of images, or a drive or dataset.')
    ],
    ground_truth: Annotated[Path, typer.Option(parser=located, help=TRUTH_HELP)],
    layout: Layout = 'folder',
    frames: Annotated[
        str, typer.Option(help='Labelled images to score, FIRST:LAST; default: all.')
    ] = '',
    match_frames: Annotated[
        str | None, typer.Option(help='Fit the matching on these images instead.')
    ] = None,
    zoom: Zoom = 1,
    label_space: LabelSpace = 'own',
    labels: Labels = '',
    output: Annotated[
        Path | None,
        typer.Option('--output', '-o', parser=located, help='Folder for scores and pictures.'),
    ] = None,
    overwrite: Overwrite = False,
    workers: NetworkWorkers = 0,
    scheduler: Scheduler = '',
    as_json: AsJson = False,
) -> None:
    """Score a model, or a folder of label images, against ground truth."""
    from drive_segment_ros.progress import bar
    from offline_training.evaluation.evaluate import SCORE_FILES
    from offline_training.evaluation.evaluate import evaluate as evaluate_model
    from offline_training.evaluation.evaluation import class_table, table

    if output is not None:
        refuse_existing(*(output / file for file in SCORE_FILES), overwrite=overwrite)
    report = evaluate_model(
        model,
        images,
        ground_truth,
        layout,
        frames,
        match_frames,
        zoom,
        output,
        bar('scoring'),
        workers,
        scheduler,
        label_space,
        labels,
    )
    if as_json:
        print_json(report)
    else:
        rows = {str(model): report, **report.get('cameras', {})}
        if 'merged' in report:
            rows[f'merged to {report["merged"]["k"]} classes'] = report['merged']
        typer.echo(table(rows))
        typer.echo(f'\n{class_table(report)}\n')
        typer.echo(
            f'K = {report["k"]}, {report["classes_present"]} classes present, '
            f'{report["images"]} images, matching fitted on {report["matching_learned_on"]}'
        )


@command(kept='finished parts are kept in {output}; the same command continues')
def ablate(
    datasets: Datasets,
    output: Annotated[
        Path,
        typer.Option(
            '--output',
            '-o',
            parser=located,
            help='Experiment folder; an existing experiment is continued.',
        ),
    ],
    ground_truth: Annotated[Path, typer.Option(parser=located, help=TRUTH_HELP)],
    frames: Annotated[
        str, typer.Option(help='Frames of each camera of each drive to train on, FIRST:LAST.')
    ],
    score_frames: Annotated[
        str, typer.Option(help='Frames of each camera of the scored drive to score, FIRST:LAST.')
    ],
    drive: Annotated[
        str,
        typer.Option(help='Drive to score, by name or folder, if there are several.'),
    ] = '',
    camera: Cameras = None,
    seeds: Annotated[
        int | None, typer.Option(help='Number of seeds: 0, 1, ...; default: 3.')
    ] = None,
    results_only: Annotated[
        bool, typer.Option('--results-only', help='Skip the ablated students.')
    ] = False,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            help='IMAGES=LABELS of another camera, drive or town, not trained on, '
            'scored too; may be repeated.'
        ),
    ] = None,
    params: Params = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Run an ablation: label, train and score for several seeds, with and without each part.

    Parameters are those of `label` and `train`, as label.classes or train.training.epochs.
    """
    from drive_segment_ros.parameter_files import read_parameters
    from drive_segment_ros.progress import bar
    from offline_training.evaluation.ablation import AblationParameters
    from offline_training.evaluation.ablation import ablate as run_experiment
    from offline_training.evaluation.ablation_tables import markdown

    given = {
        'frames': frames,
        'score_frames': score_frames,
        'cameras': camera or None,
        'seeds': seeds,
        'results_only': results_only or None,
    }
    settings = as_assignments(given, assignments)
    parameters = read_parameters(AblationParameters, params, settings)
    for path in (*datasets, output):
        refuse_remote(path, 'an experiment links to its datasets', 'copy it to a local folder')
    pairs = list(map(_images_and_labels, transfer or ()))
    results = run_experiment(datasets, output, ground_truth, parameters, bar, drive, pairs)
    if as_json:
        print_json(results)
    else:
        typer.echo(markdown(results), nl=False)


def _images_and_labels(text: str) -> tuple[Path, Path]:
    images, equals, labels = text.partition('=')
    if not equals or not images or not labels:
        raise ParameterError(f'--transfer takes IMAGES=LABELS, not {text!r}')
    return Path(images), Path(labels)


@command
def report(
    path: Annotated[Path, typer.Argument(parser=located, help='Folder of a run or a demo.')],
    output: Annotated[
        Path | None,
        typer.Option(
            '--output', '-o', parser=located, help='HTML file; default: PATH/report.html.'
        ),
    ] = None,
    dataset: Annotated[
        list[Path] | None,
        typer.Option(
            parser=located,
            help='Dataset that the run was trained on; may be repeated. Frames excluded by its '
            '--frames are shown as held out.',
        ),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            parser=located, help='Dataset that the run was not trained on; may be repeated.'
        ),
    ] = None,
    bag: Annotated[
        list[Path] | None,
        typer.Option(
            parser=located,
            help='Bag of a dataset, to show its sweeps; may be repeated.',
        ),
    ] = None,
    join: Join = False,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Folder of labels, shown next to the student; with several drives, it has a '
            'folder for each.',
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(parser=located, help='Output of `evaluate -o`; default: PATH/scores.'),
    ] = None,
    baseline_scores: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Scores of the baseline, for comparison; default: PATH/baseline_scores.',
        ),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            parser=located,
            help='Output of `ablate`, to show its scores and bound; default: the experiment '
            'that contains the run.',
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report: scores, held-out frames, classes, training, recording, timings."""
    from rich.console import Console

    from offline_training.report.report import write_report
    from offline_training.report.sources import Beside, find_sources

    beside = Beside(
        *(dataset or (), held_out or (), bag or (), join),
        *(ground_truth, scores, baseline_scores, experiment),
    )
    sources = find_sources(path, beside)
    file = output or path / 'report.html'
    refuse_existing(file, overwrite=overwrite)
    with Console(stderr=True).status('reading') as shown:
        written = write_report(sources, file, shown.update)
    if as_json:
        print_json(written)
        return
    typer.echo(f'{written["report"]}: {written["frames"]} frames, {written["bytes"] / 1e6:.1f} MB')
    for heading in written['missing']:
        typer.echo(f'  nothing to show for: {heading}', err=True)
