"""Scores object segments against ground truth classes and instances.

Coverage is the share of labelled pixels that lie in some proposal; purity the share of those whose
class is the one that most of their proposal's labelled pixels have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import read_image_file
from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.proposals import GROUND
from drive_segment_ros.perception.resizing import resize_labels
from drive_segment_ros.storage import files_there, read_whole
from offline_training.evaluation.ground_truth import (
    GroundTruth,
    LabelledImage,
    folder_classes,
)

# Thing classes, whose instances are counted.
_COUNTED = ('car', 'truck_bus', 'person', 'two_wheeler')
# Instances with fewer labelled pixels are too small for the LiDAR and are ignored.
_MIN_INSTANCE_PIXELS = 200


@dataclasses.dataclass
class SegmentScores:
    """Sums over frames; all scores follow from them.

    Attributes:
        classes: names by class id.
        labelled, covered, pure: (C,) pixels.
        in_ground: (C,) covered pixels whose proposal is ground.
        frames: scored.
        proposals: in them.
        instances, merged: number of true objects of which proposals cover more than half, and of
            those that share their main proposal with another; None without instances in the truth.
    """

    classes: list[str]
    labelled: NDArray[np.int64]
    covered: NDArray[np.int64]
    pure: NDArray[np.int64]
    in_ground: NDArray[np.int64]
    frames: int = 0
    proposals: int = 0
    instances: int | None = None
    merged: int | None = None

    def summary(self) -> dict[str, Any]:
        """Return the scores, shares in percent, ready for JSON."""
        per_class = {
            name: {
                'share': _percent(self.labelled[k], self.labelled.sum()),
                'coverage': _percent(self.covered[k], self.labelled[k]),
                'purity': _percent(self.pure[k], self.covered[k]),
                'in_ground': _percent(self.in_ground[k], self.covered[k]),
            }
            for k, name in enumerate(self.classes)
            if self.labelled[k]
        }
        return {
            'coverage': _percent(self.covered.sum(), self.labelled.sum()),
            'purity': _percent(self.pure.sum(), self.covered.sum()),
            'frames': self.frames,
            'proposals_per_frame': round(self.proposals / max(self.frames, 1), 1),
            'instances': self.instances,
            'merged': self.merged,
            'per_class': per_class,
        }


def score_segments(
    frames: Sequence[FrameRecord], truth: Path, instances: Path | None = None
) -> SegmentScores:
    """Score segment images.

    Args:
        frames: of one camera of a drive.
        truth: folder of `<image stamp>.png`, uint8 class ids, 255 = unlabelled, and
            `classes.json`.
        instances: folder of `<image stamp>.png`, uint16 object ids, if there are any.

    Raises:
        DatasetError: if the ground truth is invalid, or belongs to no frame.
    """
    if not (truth / 'classes.json').is_file():
        raise DatasetError(f'{truth} has no classes.json')
    classes, number_of_id = folder_classes(truth)
    labels = GroundTruth([], classes, number_of_id)
    labelled, covered, pure, in_ground = np.zeros((4, len(classes)), np.int64)
    scores = SegmentScores(classes, labelled, covered, pure, in_ground)
    if instances is not None:
        scores.instances = scores.merged = 0
    there = files_there(truth / f'{frame.stamp_ns}.png' for frame in frames)
    for frame in frames:
        label_path = truth / f'{frame.stamp_ns}.png'
        if label_path not in there:
            continue
        label = labels.label(LabelledImage(frame.image_path, label_path))
        segment = resize_labels(frame.segment(), *label.shape)
        _add(scores, frame, label, segment)
        if instances is not None:
            _add_instances(scores, label, segment, instances / label_path.name)
    if scores.frames == 0:
        raise DatasetError(f'no label in {truth} belongs to one of the {len(frames)} frames')
    return scores


def _add(
    scores: SegmentScores,
    frame: FrameRecord,
    label: NDArray[np.uint8],
    segment: NDArray[np.integer],
) -> None:
    count = len(scores.classes)
    known = label != IGNORE_LABEL
    true, found = label[known].astype(np.int64), segment[known].astype(np.int64)
    table = np.bincount(found * count + true, minlength=(found.max(initial=0) + 1) * count)
    table = table.reshape(-1, count)
    majority = table.argmax(axis=1)
    proposals = frame.proposals()
    is_ground = np.zeros(max(len(table), int(proposals['id'].max(initial=0)) + 1), bool)
    is_ground[proposals['id'][proposals['kind'] == GROUND]] = True
    scores.labelled += table.sum(axis=0)
    scores.covered += table[1:].sum(axis=0)
    scores.in_ground += table[is_ground[: len(table)]].sum(axis=0)
    np.add.at(scores.pure, majority[1:], table[1:].max(axis=1, initial=0))
    scores.frames += 1
    scores.proposals += int(np.count_nonzero(np.bincount(segment.ravel())[1:]))


def _add_instances(
    scores: SegmentScores, label: NDArray[np.uint8], segment: NDArray[np.integer], path: Path
) -> None:
    """Count the objects that share a proposal with another."""
    try:
        ids = read_image_file(read_whole(path), unchanged=True)
    except (OSError, ImageError) as err:
        raise DatasetError(f'{path} is not an image of object ids: {err}') from err
    if ids.shape != label.shape:
        raise DatasetError(f'{path} is not an image of object ids of shape {label.shape}')
    wanted = np.isin(label, [scores.classes.index(c) for c in _COUNTED if c in scores.classes])
    homes = list(_homes(np.asarray(ids, np.int64)[wanted], segment[wanted]))
    assert scores.instances is not None
    assert scores.merged is not None
    scores.instances += len(homes)
    scores.merged += sum(homes.count(home) > 1 for home in homes)


def _homes(instance: NDArray[np.integer], segment: NDArray[np.integer]) -> Iterator[int]:
    """Yield the main proposal of each object of which proposals cover more than half."""
    for one in np.unique(instance):
        inside = segment[instance == one]
        if len(inside) < _MIN_INSTANCE_PIXELS:
            continue
        counts = np.bincount(inside[inside > 0])
        if counts.sum() * 2 > len(inside):
            yield int(counts.argmax())


def _percent(part: Any, whole: Any) -> float:
    return round(100.0 * float(part) / float(whole), 2) if whole else 0.0
