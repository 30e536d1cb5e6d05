"""Intermediate results of `label`, for tests of its single steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive_segment_ros.dataset.reader import Dataset
from offline_training.pseudo_labels.assignment import Assignment, LabelParameters, assign
from offline_training.pseudo_labels.describe import DescribeJob, describe
from offline_training.pseudo_labels.drive_plan import DrivePlan, plan_drives
from offline_training.pseudo_labels.fit import fit
from offline_training.pseudo_labels.sampling import Sample, SampleJob, track
from offline_training.pseudo_labels.segment_table import SegmentTable, read_table
from offline_training.pseudo_labels.stuff_classes import NO_STUFF


def tracked(dataset: Path, frames_a_range: int = 0) -> list[DrivePlan]:
    """Describe and track the segments of all drives; return their plans."""
    plans = plan_drives(Dataset(dataset), [], 1, frames_a_range)
    for plan in plans:
        for part in plan.ranges:
            describe(DescribeJob(plan, part, 'descriptor'))
        track(SampleJob(plan, slice(None), True, 0))
    return plans


def table_of(dataset: Path, frames_a_range: int = 0) -> SegmentTable:
    """Return the segment table of a dataset's only drive."""
    (plan,) = tracked(dataset, frames_a_range)
    return read_table(plan)


def classes_of(
    table: SegmentTable, learned: np.ndarray, parameters: LabelParameters
) -> Assignment:
    """Learn pseudo-classes from the `learned` segments, and assign them to all."""
    taken = learned & (table.stuff == NO_STUFF)
    track = table.track if parameters.follow_tracks else np.arange(len(table.track))
    sample = Sample(
        {name: values[taken] for name, values in table.features.items()},
        table.pixels[taken],
        np.unique(track[taken], return_inverse=True)[1],
    )
    stuff = np.setdiff1d(table.stuff[learned], [NO_STUFF]).tolist()
    model, _ = fit(sample, stuff, parameters)
    return assign(table, learned, model, parameters.follow_tracks)
