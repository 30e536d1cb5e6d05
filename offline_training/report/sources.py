"""Finds the inputs of a report: in a demo's folder, or in a run and given paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.ros.joined_bags import drives, one_drive
from drive_segment_ros.text_files import inside, read_json
from drive_segment_ros.what_is import not_wanted
from offline_training.training.run_folder import RUN_FILE

# The file in which `drive-segment demo` records its steps and paths.
DEMO_FILE = 'demo.json'
# Folders of the output of `evaluate`, in a run or a demo's folder.
SCORES_FOLDER, BASELINE_FOLDER = 'scores', 'baseline_scores'
# File written by `ablate`.
RESULTS_FILE = 'results.json'
LEARNED_FROM, HELD_OUT = 'learned from', 'held out'


@dataclasses.dataclass(frozen=True)
class DriveSource:
    """A dataset, or one drive of it, whose frames are shown.

    Attributes:
        role: `LEARNED_FROM` or `HELD_OUT`.
        dataset: as `extract` wrote it.
        bags: of the drive, all its parts; empty if not available.
        truth: folder of labels named like the images, None without.
        name: of the drive; empty means all.
    """

    role: str
    dataset: Path
    bags: tuple[Path, ...] = ()
    truth: Path | None = None
    name: str = ''

    @property
    def drives(self) -> list[Drive]:
        """The drives of the dataset that are shown."""
        return [d for d in Dataset(self.dataset).drives if self.name in ('', d.name)]


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a demo.

    Attributes:
        title: its purpose.
        command: the command line.
        seconds: its duration.
        result: its output with `--json`, empty if there is none.
    """

    title: str
    command: str
    seconds: float
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """The subcommand."""
        return self.command.split()[1]


@dataclasses.dataclass(frozen=True)
class Sources:
    """All inputs of a report; missing ones are None or empty.

    Attributes:
        title: of the page.
        drives: datasets whose frames are shown.
        run: as `train` wrote it.
        model: as `export` wrote it.
        scores: as `evaluate --output` wrote it.
        baseline: the same of the image-only baseline.
        experiment: as `ablate` wrote it.
        live: pictures that `save-topic` took of the live run.
        steps: of a demo.
    """

    title: str
    drives: list[DriveSource]
    run: Path | None = None
    model: Path | None = None
    scores: Path | None = None
    baseline: Path | None = None
    experiment: Path | None = None
    live: Path | None = None
    steps: list[Step] = dataclasses.field(default_factory=list)

    @property
    def dataset(self) -> Path | None:
        """The training dataset."""
        return next((d.dataset for d in self.drives if d.role == LEARNED_FROM), None)


@dataclasses.dataclass(frozen=True)
class Beside:
    """Inputs that are named in addition to a run.

    Attributes:
        datasets: the training data.
        held_out: datasets not used for training.
        bags: of all these datasets, for the LiDAR's points.
        join: whether all bags are parts of one drive.
        truth: folder of labels; for several drives, with a subfolder for each.
        scores: folder that `evaluate --output` wrote; default: `scores` in the run.
        baseline: the same of the image-only baseline; default: `baseline_scores` in the run.
        experiment: folder that `ablate` wrote; default: the parent folder of the run.
    """

    datasets: Sequence[Path] = ()
    held_out: Sequence[Path] = ()
    bags: Sequence[Path] = ()
    join: bool = False
    truth: Path | None = None
    scores: Path | None = None
    baseline: Path | None = None
    experiment: Path | None = None


def find_sources(path: Path, beside: Beside | None = None) -> Sources:
    """Find the inputs of a report.

    Args:
        path: a demo's folder, or a run's.
        beside: inputs named in addition to a run.

    Raises:
        BagError: if the dataset is one drive and there are several bags that are not to be joined.
        DatasetError: if the path is neither, or a named folder does not exist.
    """
    beside = beside or Beside()
    for named in (
        *(*beside.datasets, *beside.held_out, *beside.bags),
        *(beside.truth, beside.scores, beside.baseline, beside.experiment),
    ):
        if named is not None and not named.exists():
            raise DatasetError(f'{named} does not exist; leave it out or name another')
    if (path / DEMO_FILE).is_file():
        if beside != Beside():
            raise DatasetError(f'{path} is a demo and knows its parts; name them for a run only')
        return _demo(path)
    if not (path / RUN_FILE).is_file():
        advice = 'give a folder that `drive-segment train` or `drive-segment demo` wrote'
        raise DatasetError(not_wanted(path, "a run or a demo's folder", advice))
    # A run of an experiment is EXPERIMENT/seed_0/run.
    around = path.resolve().parent.parent if path.resolve().parent.name[:5] == 'seed_' else None
    return Sources(
        path.name,
        _drives_of(beside),
        path,
        scores=beside.scores or _folder(path / SCORES_FOLDER),
        baseline=beside.baseline or _folder(path / BASELINE_FOLDER),
        experiment=beside.experiment
        or (around if around and (around / RESULTS_FILE).is_file() else None),
    )


def _drives_of(beside: Beside) -> list[DriveSource]:
    """Return the datasets' drives, each with its own bags and truth."""
    named = {LEARNED_FROM: beside.datasets, HELD_OUT: beside.held_out}
    found = [
        (role, drive)
        for role, datasets in named.items()
        if datasets
        for drive in Dataset(*datasets).drives
    ]
    if len(found) == 1:
        ((role, drive),) = found
        bags = tuple(one_drive(beside.bags, beside.join))
        return [DriveSource(role, drive.path.parent, bags, beside.truth, drive.name)]
    by_drive = drives(beside.bags, beside.join) if beside.bags else []
    parts = {bags[0].name: tuple(bags) for bags in by_drive}
    truth = beside.truth
    if truth and not any((truth / drive.name).is_dir() for _, drive in found):
        raise DatasetError(
            f'{truth} has no folder named as one of the {len(found)} drives; labels of several '
            'drives lie in a folder for each'
        )
    return [
        DriveSource(
            role,
            drive.path.parent,
            parts.get(_bag_of(drive), ()),
            _folder(truth / drive.name) if truth else None,
            drive.name,
        )
        for role, drive in found
    ]


def _folder(path: Path) -> Path | None:
    """Return a folder if it exists."""
    return path if path.is_dir() else None


def _bag_of(drive: Drive) -> str:
    """Return the name of the bag that a drive was extracted from."""
    source = drive.info.get('source')
    return str(source.get('bag')) if isinstance(source, dict) else ''


def _demo(path: Path) -> Sources:
    """Read a demo's record of its steps; paths are relative to its folder."""
    file = path / DEMO_FILE
    try:
        content = read_json(file)
        steps = [_step(values) for values in content.get('steps', [])]
        folders = {
            name: inside(path, folder, f'the folder {name}')
            for name, folder in content.get('folders', {}).items()
        }
        drives = [
            _demo_drive(path, drive)
            for drive in content.get('drives', [])
            if inside(path, drive['dataset'], 'the dataset').is_dir()
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise DatasetError(f'{file} is damaged ({err}); run the demo again') from err
    there = {name: folder for name, folder in folders.items() if folder.is_dir()}
    return Sources(
        path.resolve().name,
        drives,
        steps=steps,
        **{name: there.get(name) for name in ('run', 'model', 'scores', 'baseline', 'live')},
    )


def _step(values: dict[str, Any]) -> Step:
    step = Step(**values)
    texts = isinstance(step.title, str) and isinstance(step.command, str)
    numbers = type(step.seconds) in (int, float) and isinstance(step.result, dict)
    if not (texts and numbers and len(step.command.split()) > 1):
        raise ValueError('a step is invalid')
    return step


def _demo_drive(path: Path, drive: dict[str, Any]) -> DriveSource:
    bag, truth, name = drive['bag'], drive['truth'], drive.get('name', '')
    if not all(isinstance(text, str) for text in (drive['role'], name, bag or '')):
        raise ValueError('a drive is invalid')
    # The bag that a person gave may lie anywhere; of it, points are drawn.
    elsewhere = bag and Path(bag).is_absolute()
    there = _present(Path(bag) if elsewhere else bag and inside(path, bag, 'the bag'))
    return DriveSource(
        drive['role'],
        inside(path, drive['dataset'], 'the dataset'),
        (there,) if there else (),
        _present(truth and inside(path, truth, 'the truth')),
        name,
    )


def _present(path: Path | None) -> Path | None:
    """Return the path of a part if it exists."""
    return path if path and path.exists() else None
