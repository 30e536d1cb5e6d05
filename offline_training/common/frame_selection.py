"""Selection of frames of a dataset: a slice of each camera of each drive, by time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence

from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.errors import DatasetError, ParameterError
from drive_segment_ros.storage import read_whole
from drive_segment_ros.text_files import shown


def parse_slice(text: str) -> slice:
    """Parse `first:last`, last excluded, either may be missing; an empty text means all.

    Raises:
        ParameterError: if it has another form.
    """
    match = re.fullmatch(r'(-?[0-9]{1,18})?:(-?[0-9]{1,18})?', text or ':')
    if match is None:
        raise ParameterError(f'frames are given as FIRST:LAST, such as 0:45; got {shown(text)}')
    first, last = (int(group) if group else None for group in match.groups())
    return slice(first, last)


def select_frames(
    dataset: Dataset, frames: str = '', cameras: Sequence[str] = ()
) -> list[list[FrameRecord]]:
    """Return the chosen frames, one list for each camera of each drive.

    Args:
        dataset: the drives.
        frames: of each camera of each drive, FIRST:LAST.
        cameras: by name; empty is all.

    Raises:
        ParameterError: if `frames` is not a slice.
        DatasetError: if it selects none, or no drive has a camera of that name.
    """
    chosen = parse_slice(frames)
    known = sorted({name for drive in dataset.drives for name in drive.cameras})
    unknown = [name for name in cameras if name not in known]
    if unknown:
        raise DatasetError(f'{dataset} has no camera {unknown[0]}; choose from {", ".join(known)}')
    selection = [
        taken[chosen]
        for drive in dataset.drives
        for name, taken in drive.cameras.items()
        if name in cameras or not cameras
    ]
    if not any(selection):
        raise DatasetError(f'{dataset}: frames {frames or ":"} selects no frame')
    return selection


def name_of(frame: FrameRecord) -> bytes:
    """Return the line that identifies a frame in hashes; names of folders may have any bytes."""
    return os.fsencode(f'{frame.drive.name}/{frame.camera}/{frame.stamp_ns}\n')


def fingerprint(frames: Sequence[FrameRecord]) -> str:
    """Return a hash of frames and their pseudo-labels, which identifies the data.

    It covers stamps, drives and the bytes of pseudo-labels; images are identified by the stamp.
    """
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(name_of(frame))
        with contextlib.suppress(FileNotFoundError):
            digest.update(read_whole(frame.pseudo_label_path))
    return digest.hexdigest()[:16]
