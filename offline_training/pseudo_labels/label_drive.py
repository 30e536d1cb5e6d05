"""Labels a drive: first its segments, then a pseudo-label for every frame."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.common.files import write_png
from offline_training.pseudo_labels.assignment import Assignment, LabelParameters, assign
from offline_training.pseudo_labels.class_statistics import ClassCounts
from offline_training.pseudo_labels.columns import read_columns, write_columns
from offline_training.pseudo_labels.consistency import first_and_last
from offline_training.pseudo_labels.drive_plan import DrivePlan, FrameRange
from offline_training.pseudo_labels.gallery import Exhibit, exhibits, largest_exhibits
from offline_training.pseudo_labels.model import ClassModel
from offline_training.pseudo_labels.segment_table import SegmentTable, read_table
from offline_training.pseudo_labels.stuff_classes import NO_STUFF


@dataclasses.dataclass(frozen=True)
class AssignJob:
    """A drive whose segments get classes.

    Attributes:
        plan: the drive.
        model: file of the classes.
        learned: frames of each camera that the classes were fitted on.
        parameters: of the labelling.
        classes: number of pseudo-classes.
    """

    plan: DrivePlan
    model: Path
    learned: slice
    parameters: LabelParameters
    classes: int


@dataclasses.dataclass(frozen=True)
class DriveLabels:
    """A summary of the labels of one or several drives.

    Attributes:
        segments: their number.
        objects: (F,) object segments of each frame, camera by camera.
        counts: of each class.
        joint: (K, K), see `consistency.first_and_last`.
        exhibits: segments for the gallery, by class.
        digests: a hash of the segments' classes for each drive.
    """

    segments: int
    objects: NDArray[np.int64]
    counts: ClassCounts
    joint: NDArray[np.float64]
    exhibits: dict[int, list[Exhibit]]
    digests: tuple[str, ...]

    def __add__(self, other: DriveLabels) -> DriveLabels:
        """Return the summary of both."""
        return DriveLabels(
            self.segments + other.segments,
            np.concatenate([self.objects, other.objects]),
            self.counts + other.counts,
            self.joint + other.joint,
            largest_exhibits(self.exhibits, other.exhibits),
            self.digests + other.digests,
        )

    def fingerprint(self) -> str:
        """Return a hash of the segments' classes, the same for all labels of one run."""
        return hashlib.sha256(''.join(self.digests).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class PaintJob:
    """A range of frames whose segments have classes."""

    plan: DrivePlan
    part: FrameRange


def label_segments(job: AssignJob) -> DriveLabels:
    """Assign classes to a drive's segments, and write those of each range to a table.

    Raises:
        DatasetError: if a table or the model cannot be read, or a table cannot be written.
    """
    plan = job.plan
    table = read_table(plan)
    learned = plan.learned(job.learned)[table.frame]
    found = assign(table, learned, ClassModel.load(job.model), job.parameters.follow_tracks)
    label = found.label.astype(np.uint8)
    for part in plan.ranges:
        before = plan.frames_before(part.camera)
        rows = slice(*np.searchsorted(table.frame, [before + part.first, before + part.last]))
        write_columns(plan.path(part, 'classes'), {'id': table.id[rows], 'label': label[rows]})
    return _summary(job, table, found)


def _summary(job: AssignJob, table: SegmentTable, found: Assignment) -> DriveLabels:
    classes, frames = job.classes, job.plan.all_frames()
    objects = table.stuff == NO_STUFF
    when = np.array([frame.stamp_ns for frame in frames], np.int64)[table.frame[objects]]
    digest = hashlib.sha256()
    for column in (table.frame, table.id, found.label.astype(np.int64)):
        digest.update(column.tobytes())
    return DriveLabels(
        len(table.id),
        np.bincount(table.frame[objects], minlength=len(frames)),
        ClassCounts.of(table, found.label, classes, [job.parameters.seed, job.plan.number, 1]),
        first_and_last(
            found.label_alone[objects],
            table.track[objects],
            when,
            np.sqrt(table.pixels[objects]),
            classes,
        ),
        exhibits(table, found.label, frames),
        (digest.hexdigest(),),
    )


def paint(job: PaintJob) -> NDArray[np.float64]:
    """Write the pseudo-labels of a range; return the labelled share of each frame, (F,).

    Raises:
        DatasetError: if a file cannot be read or written.
    """
    part = job.part
    frame = read_columns(job.plan.path(part, 'segments'), ['frame'])['frame']
    classes = read_columns(job.plan.path(part, 'classes'))
    bounds = np.searchsorted(frame, np.arange(part.first, part.last + 1))
    labelled = np.zeros(part.last - part.first)
    for index, record in enumerate(job.plan.camera_frames(part.camera)[part.first : part.last]):
        rows = slice(bounds[index], bounds[index + 1])
        class_of_id = np.full(65536, IGNORE_LABEL, np.uint8)
        class_of_id[classes['id'][rows]] = classes['label'][rows]
        pseudo_label = class_of_id[record.segment()]
        pseudo_label[between_classes(pseudo_label)] = IGNORE_LABEL
        write_png(record.with_labels(job.plan.labels).pseudo_label_path, pseudo_label)
        labelled[index] = np.mean(pseudo_label != IGNORE_LABEL)
    return labelled


def between_classes(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels adjacent to one of another class, (H, W); unknown is not a class.

    Neither LiDAR nor superpixels locate the boundary of two objects to the pixel.

    Args:
        label: (H, W) uint8 pseudo-class, 255 = unknown.
    """
    neighbours = np.ones((3, 3), np.uint8)
    known = label != IGNORE_LABEL
    lowest = cv2.erode(label, neighbours)
    highest = cv2.dilate(np.where(known, label, 0).astype(np.uint8), neighbours)
    return known & (lowest != highest)
