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
    """Start a run, or take up one; in all processes together.

    Args:
        folder: of the run.
        classes: their names and colours; none where nothing is known of classes.
        provenance: what the run is made of.
        resume: whether to take up one.
        model: file of the pseudo-classes, of which the run keeps a copy, if it is there: later
            labels take numbers from it, and `export` what to merge.

    Raises:
        DatasetError: if the folder cannot be written, or the processes do not share it.
        ModelError: if it holds something and `resume` is off, or another run.
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
    occupied = folder.exists() and any(folder.iterdir())
    if occupied and not resume:
        raise ModelError(f'{folder} is not empty; resume it or choose another folder')
    if (folder / RUN_FILE).exists():
        # All that lies in the folder was made for that run; its classes may have names now.
        check_same_run(read_object(folder / RUN_FILE), provenance, folder)
        for leftover in folder.glob('*/.*.safetensors.*'):
            leftover.unlink()  # Of one that was killed while it wrote.
        return
    if any(path.is_dir() for path in folder.glob('*')):
        raise ModelError(f'{folder} has no {RUN_FILE}; choose another run folder')
    if model is not None and is_there(model):
        write_atomic(folder / MODEL_FILE, read_whole(model))
    # Last what tells that the run has begun.
    if classes:
        save_classes(folder / CLASSES_FILE, list(classes))
    write_json(folder / RUN_FILE, provenance)


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Compare the provenance of what is to be resumed with that of who resumes it.

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
    """Compare what all processes were started with.

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
    """Return a hash of frames and their pseudo-labels, to which each process adds its share."""

    def own(alive: Alive) -> dict[int, str]:
        digests = {}
        for number, chosen in own_shards(len(frames)):
            alive()
            digests[number] = fingerprint([frames[index] for index in chosen])
        return digests

    digests = {number: part for parts in all_of(together(own)) for number, part in parts.items()}
    joined = ''.join(digests[number] for number in sorted(digests))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]
