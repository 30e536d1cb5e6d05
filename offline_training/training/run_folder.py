"""A run folder: `run.json`, `classes.yaml`, `clusters.npz`, `cache/`, a folder a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.errors import ModelError
from drive_segment_ros.storage import is_there, read_whole
from offline_training.common.classes import CLASSES_FILE, ClassName, save_classes
from offline_training.common.files import read_object, write_atomic, write_json
from offline_training.common.frame_selection import fingerprint
from offline_training.pseudo_labels.model import MODEL_FILE
from offline_training.training.processes import (
    Alive,
    all_of,
    first_alone,
    together,
)
from offline_training.training.shards import own_shards, wait_until_visible

RUN_FILE = 'run.json'


def begin_run(
    folder: Path,
    classes: Sequence[ClassName],
    provenance: Mapping[str, Any],
    resume: bool,
    model: Path | None = None,
) -> None:
    """Create a run folder or continue an existing one; called by all processes.

    Args:
        folder: of the run.
        classes: names and colours of the classes; empty for a run without classes.
        provenance: parameters, data and version of the run, see `check_same_run`.
        resume: whether an existing run may be continued.
        model: file of the pseudo-classes, which is copied to the run if it exists: it determines
            the numbers in later labellings, and which classes `export` merges.

    Raises:
        DatasetError: if the folder cannot be written, or the processes do not share it.
        ModelError: if it holds something and `resume` is off, or another run, or if its path is
            not valid Unicode.
    """
    first_alone(lambda: _begin(folder, classes, provenance, resume, model))
    wait_until_visible(folder / RUN_FILE)


def _begin(
    folder: Path,
    classes: Sequence[ClassName],
    provenance: Mapping[str, Any],
    resume: bool,
    model: Path | None,
) -> None:
    path = str(folder)
    if path != path.encode(errors='replace').decode():
        raise ModelError(f'{path!r} is not valid Unicode, which safetensors needs; choose another')
    occupied = folder.exists() and any(folder.iterdir())
    if occupied and not resume:
        raise ModelError(f'{folder} is not empty; resume it or choose another folder')
    if (folder / RUN_FILE).exists():
        # The files belong to this run; its classes, which may have been named, are kept.
        check_same_run(read_object(folder / RUN_FILE), provenance, folder)
        for leftover in folder.glob('*/.*.safetensors.*'):
            leftover.unlink()  # left by a killed process
        return
    if any(path.is_dir() for path in folder.glob('*')):
        raise ModelError(f'{folder} has no {RUN_FILE}; choose another run folder')
    if model is not None and is_there(model):
        write_atomic(folder / MODEL_FILE, read_whole(model))
    # `run.json` is written last: its existence marks a run.
    if classes:
        save_classes(folder / CLASSES_FILE, list(classes))
    write_json(folder / RUN_FILE, provenance)


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Compare the provenance of a run or checkpoint with that of the run that resumes it.

    Raises:
        ModelError: if they differ.
    """
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise ModelError(
            f'{path} was trained with other {", ".join(changed)}; resume it with those or '
            'choose another run folder'
        )


def check_alike(values: Mapping[str, Any]) -> None:
    """Check that all processes were started with the same values.

    Raises:
        ModelError: if one differs from the first.
    """
    given = all_of(dict(values))
    for number, other in enumerate(given):
        differing = [key for key in values if other[key] != given[0][key]]
        if differing:
            raise ModelError(
                f'process {number} was started with other {", ".join(differing)} than the first; '
                'give all nodes the same command, version and datasets'
            )


def shared_fingerprint(frames: Sequence[FrameRecord]) -> str:
    """Return a hash of frames and their pseudo-labels; each process reads a share of them."""

    def own(alive: Alive) -> dict[int, str]:
        digests = {}
        for number, chosen in own_shards(len(frames)):
            alive()
            digests[number] = fingerprint([frames[index] for index in chosen])
        return digests

    digests = {number: part for parts in all_of(together(own)) for number, part in parts.items()}
    joined = ''.join(digests[number] for number in sorted(digests))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]
