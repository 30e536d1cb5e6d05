"""The split of a labelled drive into training frames and scored frames."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.reader import Dataset, Drive, FrameRecord
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import read_whole
from offline_training.common.frame_selection import name_of, parse_slice
from offline_training.evaluation.drive_truth import joined, load_drive_truth
from offline_training.evaluation.ground_truth import GroundTruth


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The split of a drive into training frames and scored frames.

    Attributes:
        drive: name of the drive.
        dataset: folder that contains it.
        frames: the training frames.
        learned: ground truth of these, as far as it exists.
        scored: ground truth of the scored frames.
    """

    drive: str
    dataset: Path
    frames: list[FrameRecord]
    learned: GroundTruth
    scored: GroundTruth

    @staticmethod
    def find(
        dataset: Dataset,
        drive: str,
        truth: Path,
        frames: str,
        score_frames: str,
        cameras: Sequence[str] = (),
    ) -> HeldOut:
        """Split a drive.

        Args:
            dataset: that contains it.
            drive: its name, or its folder if several datasets have a drive of this name; may be
                empty if there is only one.
            truth: folder of its labels, see `load_drive_truth`.
            frames, score_frames: ranges of each camera's frames, FIRST:LAST, to train on and to
                score.
            cameras: names of the cameras; empty for all.

        Raises:
            ParameterError: if a range is invalid.
            DatasetError: if there is no such drive, a frame is in both parts, or a part has no
                truth.
        """
        chosen = _drive(dataset, drive)
        learned, scored = (
            [
                frame
                for name, taken in chosen.cameras.items()
                if name in cameras or not cameras
                for frame in taken[parse_slice(part)]
            ]
            for part in (frames, score_frames)
        )
        both = {frame.image_path for frame in learned} & {frame.image_path for frame in scored}
        if both:
            raise DatasetError(
                f'{len(both)} frames are in the training and the scored frames; give others to '
                'score on'
            )
        labelled = joined(load_drive_truth(chosen, truth))
        return HeldOut(
            chosen.name,
            chosen.path.parent,
            learned,
            _truth_of(labelled, learned, frames),
            _truth_of(labelled, scored, score_frames),
        )


def fingerprint_of_segments(dataset: Dataset, truth: Sequence[GroundTruth]) -> str:
    """Return a hash of all frames' segments and of label images: the inputs of an experiment.

    Unlike `frame_selection.fingerprint`, it does not include pseudo-labels.
    """
    digest = hashlib.sha256()
    for drive in dataset.drives:
        for frame in drive.frames:
            digest.update(name_of(frame))
            digest.update(read_whole(frame.segment_path))
    return _with_labels(digest, truth)


def fingerprint_of_labels(labelled: GroundTruth) -> str:
    """Return a hash of label images."""
    return _with_labels(hashlib.sha256(), [labelled])


def _with_labels(digest: Any, truth: Sequence[GroundTruth]) -> str:
    for labelled in truth:
        for item in labelled.images:
            digest.update(os.fsencode(f'{item.label_path.name}\n'))
            digest.update(read_whole(item.label_path))
    return digest.hexdigest()[:16]


def _drive(dataset: Dataset, name: str) -> Drive:
    drives = [drive for drive in dataset.drives if name in ('', drive.name, str(drive.path))]
    if len(drives) == 1:
        return drives[0]
    names = Counter(drive.name for drive in dataset.drives)
    told = (d.name if names[d.name] == 1 else str(d.path) for d in dataset.drives)
    raise DatasetError(f'{dataset}: choose the drive to score on with --drive: {", ".join(told)}')


def _truth_of(labelled: GroundTruth, frames: list[FrameRecord], asked: str) -> GroundTruth:
    paths = {frame.image_path for frame in frames}
    images = [item for item in labelled.images if item.image_path in paths]
    if not images:
        raise DatasetError(f'none of the frames {asked or ":"} has ground truth')
    return dataclasses.replace(labelled, images=images)
