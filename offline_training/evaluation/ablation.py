"""Ablation of the method: one experiment over several seeds, scored on held-out frames.

Pseudo-classes, teacher and students are fitted on the training frames only. For comparison there
are clusters of the image alone, and as the bound the same network trained on the ground truth,
which nothing else uses. Existing parts are reused, so that an interrupted experiment can be
continued.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import drive_segment_ros
from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.errors import ModelError, ParameterError
from drive_segment_ros.parameters import from_flat, parameter, to_flat
from offline_training.common.engine import Engine, open_engine
from offline_training.common.files import read_object, write_atomic, write_json
from offline_training.evaluation.ablation_tables import markdown
from offline_training.evaluation.answers import Answers, PseudoLabels, load_answers
from offline_training.evaluation.baseline import BaselineParameters, make_baseline
from offline_training.evaluation.dataset_view import dataset_view
from offline_training.evaluation.drive_truth import joined, load_labelled
from offline_training.evaluation.evaluate import count_images, count_labelled
from offline_training.evaluation.evaluation import Matching, match, report, score
from offline_training.evaluation.ground_truth import GroundTruth
from offline_training.evaluation.held_out import (
    HeldOut,
    fingerprint_of_labels,
    fingerprint_of_segments,
)
from offline_training.evaluation.spread import spread
from offline_training.evaluation.truth_bound import train_on_truth
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import STATISTICS_FILE, label
from offline_training.training.train import TrainParameters, train

EXPERIMENT_FILE = 'experiment.json'
RESULTS = ('pseudo_labels', 'image_only', 'teacher', 'student', 'truth_bound')
# Parts that can predict on images not used in training.
TRANSFERRED = ('image_only', 'teacher', 'student')
_NO_SUPERPIXELS = {'distillation.pool_superpixels': False}
_NO_SEGMENTS = {'distillation.pool_segments': False}
# Students of the same teacher, each without one component.
WITHOUT: dict[str, dict[str, Any]] = {
    'without_superpixels': _NO_SUPERPIXELS,
    'without_segments': _NO_SEGMENTS,
    'without_either': {**_NO_SUPERPIXELS, **_NO_SEGMENTS},
    'without_pasting': {'training.augmentation.paste': 0.0},
}
# The experiment sets these for each seed.
_OWN = (
    *('label.frames', 'label.cameras', 'label.seed'),
    *('train.frames', 'train.cameras', 'train.training.seed'),
)
Progress = Callable[[str], Callable[[Iterable], Iterable]]


@dataclasses.dataclass(frozen=True)
class AblationParameters:
    """Parameters of an ablation."""

    frames: str = parameter('', 'Frames of each camera of each drive to train on, FIRST:LAST.')
    score_frames: str = parameter(
        '', 'Frames of each camera of the scored drive to score on, FIRST:LAST.'
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras to train on and to score, by name; empty for all.'
    )
    seeds: int = parameter(3, 'Number of seeds of clustering and training: 0, 1, ...', minimum=1)
    results_only: bool = parameter(False, 'Skip the ablated students.')
    label: LabelParameters = dataclasses.field(default_factory=LabelParameters)
    train: TrainParameters = dataclasses.field(default_factory=TrainParameters)

    def label_of(self, seed: int) -> LabelParameters:
        """Return the parameters of a seed's pseudo-labels."""
        return dataclasses.replace(self.label, frames=self.frames, cameras=self.cameras, seed=seed)

    def train_of(self, seed: int, changes: Mapping[str, Any] | None = None) -> TrainParameters:
        """Return the training parameters of a seed's networks, with some changed."""
        own = {'frames': self.frames, 'cameras': self.cameras, 'training.seed': seed}
        return from_flat(TrainParameters, {**to_flat(self.train), **own, **(changes or {})})

    def baseline_of(self, seed: int) -> BaselineParameters:
        """Return a seed's baseline parameters: as many clusters, at the network's input width."""
        return BaselineParameters(
            self.label.classes, self.frames, self.cameras, self.train.width, seed
        )


def ablate(
    datasets: Sequence[Path],
    folder: Path,
    truth: Path,
    parameters: AblationParameters,
    progress: Progress,
    drive: str = '',
    transfer: Sequence[tuple[Path, Path]] = (),
) -> dict[str, Any]:
    """Run the experiment, or its remaining parts.

    Args:
        datasets: folders of drives; they are not changed, because the experiment writes its
            pseudo-labels to its own folder.
        folder: of the experiment; `results.json` and `results.md` are written there last.
        truth: folder of labels of the scored drive, see `load_drive_truth`.
        parameters: of the experiment.
        progress: returns, for the name of a task, a function that wraps an iterable to show its
            progress.
        drive: name or folder of the scored drive; may be empty if there is only one.
        transfer: folders of images and labels of other cameras, drives or towns, which are not
            used for training; each is scored with a separate matching, see `load_labelled`.

    Returns:
        The content of `results.json`: `experiment`, `parameters`, and `scores` by part, each with
        `seeds` and `mean`. These have `scored_frames` and `training_frames`, named after the
        frames that the matching was fitted on, with `miou` and `accuracy` of `strict` and
        `many_to_one`, and for the scored frames the result of `spread`; and `transfer` has the
        same by name and part.

    Raises:
        ParameterError: if a parameter is given that the experiment sets itself.
        DatasetError: if data is missing, or a scored frame is a training frame.
        ModelError: if `folder` has other content, or training diverges.
    """
    others = load_transfer(transfer)
    experiment = Experiment(datasets, folder, truth, parameters, progress, drive)
    parts = [*RESULTS, *(() if parameters.results_only else WITHOUT)]
    seeds = range(parameters.seeds)
    scores = {part: [experiment.score(part, seed) for seed in seeds] for part in parts}
    results = {
        'experiment': experiment.describe(scores),
        'parameters': to_flat(parameters),
        'scores': {part: _with_mean(values) for part, values in scores.items()},
        'transfer': {
            name: {
                part: _with_mean([experiment.transfer(part, n, name, labels) for n in seeds])
                for part in TRANSFERRED
            }
            for name, labels in others.items()
        },
    }
    write_json(folder / 'results.json', results)
    write_atomic(folder / 'results.md', markdown(results).encode(errors='replace'))
    return results


def load_transfer(pairs: Sequence[tuple[Path, Path]]) -> dict[str, GroundTruth]:
    """Return labelled images by the names of their folder and its parent, `<parent>/<folder>`.

    Raises:
        ParameterError: if two folders have the same name.
        DatasetError: if a folder has no labelled image.
    """
    found: dict[str, GroundTruth] = {}
    for images, truth in pairs:
        name = '/'.join(images.absolute().parts[-2:])
        if name in found:
            raise ParameterError(f'{name} is given twice to transfer to')
        # The images of a drive's camera are in a subfolder.
        below = images / 'image'
        folder = below if below.is_dir() else images
        found[name] = joined(load_labelled('folder', folder, truth))
    return found


class Experiment:
    """The folder of an experiment: `experiment.json`, and datasets, networks, scores by seed."""

    def __init__(
        self,
        datasets: Sequence[Path],
        folder: Path,
        truth: Path,
        parameters: AblationParameters,
        progress: Progress,
        drive: str,
    ) -> None:
        """Start or continue an experiment, see `ablate`."""
        self.dataset = Dataset(*datasets)
        self.folder = folder
        self.parameters = parameters
        self.progress = progress
        self.held_out = HeldOut.find(
            self.dataset,
            drive,
            truth,
            parameters.frames,
            parameters.score_frames,
            parameters.cameras,
        )
        self._claim()

    def score(self, part: str, seed: int) -> dict[str, Any]:
        """Return the scores of one part; train and score it unless the scores exist."""
        file = self._folder(seed) / 'scores' / f'{part}.json'
        if file.exists():
            return read_object(file)
        show = self.progress(f'scoring {part}, seed {seed}')
        with open_engine(workers=1) as engine:
            answers = self._make(part, seed, engine)
            by_image = count_images(answers, self.held_out.scored, show, engine)
            learned = count_labelled(answers, self.held_out.learned, show, engine)
        scored = by_image.sum(axis=0)
        if part == 'truth_bound':
            # Its outputs are the ground truth classes, which need no matching.
            same = np.arange(len(self.held_out.scored.classes))
            matchings = {name: Matching(same, same) for name in ('scored', 'training')}
        else:
            matchings = {'scored': match(scored), 'training': match(learned)}
        result = {
            f'{name}_frames': report(
                score(scored, matching), self.held_out.scored.classes, len(scored) - 1
            )
            for name, matching in matchings.items()
        }
        result['scored_frames']['spread'] = spread(by_image, matchings['scored'])
        write_json(file, result)
        return result

    def transfer(self, part: str, seed: int, name: str, labelled: GroundTruth) -> dict[str, Any]:
        """Return the scores of one part on images of another camera, drive or town."""
        # Other folders may have the same name when an experiment is continued.
        scored = f'{name.replace("/", "_")}_{fingerprint_of_labels(labelled)}'
        file = self._folder(seed) / 'scores' / 'transfer' / f'{scored}_{part}.json'
        if file.exists():
            return read_object(file)
        show = self.progress(f'{part} on {name}, seed {seed}')
        with open_engine(workers=1) as engine:
            by_image = count_images(self._make(part, seed, engine), labelled, show, engine)
        matching = match(by_image.sum(axis=0))
        scores = score(by_image.sum(axis=0), matching)
        result = report(scores, labelled.classes, by_image.shape[1] - 1)
        result['spread'] = spread(by_image, matching)
        write_json(file, {'scored_frames': result})
        return {'scored_frames': result}

    def describe(self, scores: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """Return the description of the experiment."""
        statistics = self._views(0)[0] / PSEUDO_CLASSES_FOLDER / STATISTICS_FILE
        return {
            'drive': self.held_out.drive,
            'images_scored': len(self.held_out.scored.images),
            'classes_present': scores['student'][0]['scored_frames']['classes_present'],
            'features': read_object(statistics)['features'],
            'version': drive_segment_ros.__version__,
        }

    def _make(self, part: str, seed: int, engine: Engine) -> Answers:
        """Create the pseudo-labels or the model of a part if needed, and open it."""
        if part == 'pseudo_labels':
            views = dict(zip(self.dataset.paths, self._labelled_datasets(seed), strict=True))
            drive = Drive(views[self.held_out.dataset] / self.held_out.drive)
            return PseudoLabels([drive], engine)
        return load_answers(self._model(part, seed), engine)

    def _model(self, part: str, seed: int) -> Path:
        """Train the model of a part if needed."""
        folder = self._folder(seed)
        run = folder / 'run'
        if part == 'image_only':
            make_baseline(
                self.dataset.paths,
                folder / part,
                self.parameters.baseline_of(seed),
                self.progress('reading'),
            )
            return folder / part
        if part == 'truth_bound':
            train_on_truth(
                self.held_out.frames,
                self.held_out.learned,
                folder / part,
                self.parameters.train_of(seed),
            )
            return folder / part
        datasets = self._labelled_datasets(seed)
        if part in WITHOUT:
            how = self.parameters.train_of(seed, WITHOUT[part])
            made = train(datasets, folder / part, how, resume=True, teacher=run / 'teacher')
        else:
            made = train(datasets, run, self.parameters.train_of(seed), resume=True)
        return Path(made['teacher' if part == 'teacher' else 'student'])

    def _views(self, seed: int) -> list[Path]:
        """Return a seed's folder for each dataset: `dataset`, `dataset_2`, ..."""
        numbers = range(1, len(self.dataset.paths) + 1)
        return [self._folder(seed) / ('dataset' if n == 1 else f'dataset_{n}') for n in numbers]

    def _labelled_datasets(self, seed: int) -> list[Path]:
        views = self._views(seed)
        # `label` writes its statistics last.
        if not all((view / PSEUDO_CLASSES_FOLDER / STATISTICS_FILE).exists() for view in views):
            for path, view in zip(self.dataset.paths, views, strict=True):
                dataset_view(path, view)
            label(views, self.parameters.label_of(seed), self.progress)
        return views

    def _folder(self, seed: int) -> Path:
        return self.folder / f'seed_{seed}'

    def _claim(self) -> None:
        """Write or check `experiment.json`; refuse parameters that the experiment sets itself."""
        values, defaults = to_flat(self.parameters), to_flat(AblationParameters())
        for name in _OWN:
            if values[name] != defaults[name]:
                raise ParameterError(f'{name} follows from frames, cameras and seeds; omit it')
        # These may change when an experiment is continued.
        del values['seeds'], values['results_only']
        mine = {
            'parameters': values,
            'drive': self.held_out.drive,
            'data': fingerprint_of_segments(
                self.dataset, [self.held_out.learned, self.held_out.scored]
            ),
            'version': drive_segment_ros.__version__,
        }
        file = self.folder / EXPERIMENT_FILE
        if file.exists():
            before = read_object(file)
            changed = [key for key, value in mine.items() if before.get(key) != value]
            if changed:
                raise ModelError(
                    f'{self.folder} has an experiment with other {", ".join(changed)}; choose '
                    'another folder'
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ModelError(f'{self.folder} is not empty; choose another folder')
        write_json(file, mine)


def _with_mean(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the seeds' mIoU and accuracy, and their means."""
    short = [{matching: _short(scores) for matching, scores in seed.items()} for seed in seeds]
    return {'seeds': short, 'mean': _mean(short)}


def _short(scores: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ('strict', 'many_to_one')
    short = {
        kind: {figure: scores[kind][figure] for figure in ('miou', 'accuracy')} for kind in kinds
    }
    if 'spread' in scores:
        for kind in kinds:
            short[kind] |= scores['spread'][kind]
        short['frequent'] = scores['spread']['frequent']
    return short


def _mean(values: Sequence[Any]) -> Any:
    """Return the mean of numbers, or of dicts or lists of one shape, number by number."""
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], list):
        return [_mean(numbers) for numbers in zip(*values, strict=True)]
    return round(float(np.mean(values)), 3)
