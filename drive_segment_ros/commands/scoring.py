"""Commands for scores: baseline, evaluation, ablation, report."""

from __future__ import annotations

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
    Zoom,
    as_assignments,
    located,
    refuse_remote,
)
from drive_segment_ros.errors import ParameterError
from drive_segment_ros.outputs import refuse_existing

TRUTH_HELP = 'Folder of labels named like the images; with several cameras, a folder for each.'


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
