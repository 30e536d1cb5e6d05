"""The division of labelling into jobs: drives, and ranges of frames of a camera.

Jobs hold only paths and numbers; their results are tables beside the classes, which later jobs
read.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.label_sets import classes_folder
from drive_segment_ros.dataset.reader import Dataset, Drive, FrameRecord
from drive_segment_ros.errors import DatasetError

# Tables of segments, a folder for each drive.
SEGMENTS_FOLDER = 'segments'
# Frames of a range: enough that reading the frames before it again costs little, and few enough
# that memory is bounded and all workers have work. Labels do not depend on it.
_FEWEST_FRAMES, _MOST_FRAMES = 40, 256
# Ranges per worker, so that all end at about the same time.
_RANGES_A_WORKER = 4


@dataclasses.dataclass(frozen=True)
class FrameRange:
    """Frames of one camera of a drive, in order of time; `last` is excluded."""

    camera: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """A drive that is labelled.

    Attributes:
        drive: its folder.
        tables: folder of its tables.
        number: of the drive among those labelled together.
        frames: number of frames of each camera; frames added later are ignored.
        ranges: all frames, camera by camera.
        labels: name of the label set, see `label_sets`.
        run: cache key of the files, so that the next run reads them again.
    """

    drive: Path
    tables: Path
    number: int
    frames: dict[str, int]
    ranges: tuple[FrameRange, ...]
    labels: str
    run: str

    @property
    def tracks_path(self) -> Path:
        """The table of each segment's object, and whether that has moved."""
        return self.tables / 'tracks.parquet'

    def path(self, part: FrameRange, content: str) -> Path:
        """Return the table of a range: `segments`, `matches`, `seen_through` or `classes`."""
        return self.tables / f'{part.camera}.{part.first:08d}.{content}.parquet'

    def camera_frames(self, camera: str) -> list[FrameRecord]:
        """Return the frames of a camera, read once a run and process."""
        return _drive_and_frames(self.drive, camera, self.run)[1][: self.frames[camera]]

    def all_frames(self) -> list[FrameRecord]:
        """Return the frames of all cameras, one after the other."""
        return [frame for camera in self.frames for frame in self.camera_frames(camera)]

    def opened(self, camera: str) -> Drive:
        """Return the drive, read once a run and process."""
        return _drive_and_frames(self.drive, camera, self.run)[0]

    def frames_before(self, camera: str) -> int:
        """Return the number of frames of the cameras before this one."""
        names = list(self.frames)
        return sum(self.frames[name] for name in names[: names.index(camera)])

    def learned(self, chosen: slice) -> NDArray[np.bool_]:
        """Return which frames, camera by camera, (F,), are in a slice of each camera."""
        inside = [np.zeros(count, bool) for count in self.frames.values()]
        for flags in inside:
            flags[chosen] = True
        return np.concatenate(inside)


@functools.lru_cache(maxsize=8)
def _drive_and_frames(folder: Path, camera: str, run: str) -> tuple[Drive, list[FrameRecord]]:
    drive = Drive(folder)
    return drive, drive.frames_of(camera)


def plan_drives(
    dataset: Dataset,
    cameras: Sequence[str],
    at_once: int,
    frames_a_range: int = 0,
    labels: str = '',
) -> list[DrivePlan]:
    """Find the frames of drives and divide them; indexes are not kept in memory.

    Args:
        dataset: the drives.
        cameras: by name; empty is all.
        at_once: number of ranges that are processed at a time.
        frames_a_range: largest size of a range; 0 derives it from `at_once`.
        labels: name of the set that the labels belong to.

    Raises:
        DatasetError: if there is no frame, or no drive has a camera of a name.
    """
    counts: list[dict[str, int]] = []
    known: set[str] = set()
    for drive in dataset.drives:
        # Another object than the dataset's, which would keep every frame's record.
        found = {name: len(frames) for name, frames in Drive(drive.path).cameras.items()}
        known |= found.keys()
        counts.append({n: count for n, count in found.items() if n in cameras or not cameras})
    unknown = [name for name in cameras if name not in known]
    if unknown:
        raise DatasetError(
            f'{dataset} has no camera {unknown[0]}; choose from {", ".join(sorted(known))}'
        )
    total = sum(sum(count.values()) for count in counts)
    if total == 0:
        raise DatasetError(f'{dataset}: there are no frames')
    share = total // (_RANGES_A_WORKER * at_once)
    longest = frames_a_range or min(max(share, _FEWEST_FRAMES), _MOST_FRAMES)
    run = uuid.uuid4().hex
    return [
        DrivePlan(
            drive.path,
            _tables(drive, labels),
            number,
            count,
            _ranges(count, longest),
            labels,
            run,
        )
        for number, (drive, count) in enumerate(zip(dataset.drives, counts, strict=True))
        if any(count.values())
    ]


def _tables(drive: Drive, labels: str) -> Path:
    return classes_folder(drive.path.parent, labels) / SEGMENTS_FOLDER / drive.name


def _ranges(frames: dict[str, int], longest: int) -> tuple[FrameRange, ...]:
    ranges = []
    for camera, count in frames.items():
        # Of similar length, so that no range is shorter than the frames it repeats.
        parts = -(-count // longest)
        ends = np.linspace(0, count, parts + 1).round().astype(int).tolist() if parts else [0]
        ranges += [FrameRange(camera, first, last) for first, last in itertools.pairwise(ends)]
    return tuple(ranges)
