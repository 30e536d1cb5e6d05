"""The objects that classes are fitted on: all, or a random sample of bounded size.

Each object of each drive gets a random number from the drive's generator; those with the lowest
are used, with all their segments. So the sample depends only on seed and drives, not on the
workers or the division into jobs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offline_training.pseudo_labels.columns import read_columns, write_columns
from offline_training.pseudo_labels.cross_frame_matches import LEAST_APART
from offline_training.pseudo_labels.drive_plan import DrivePlan
from offline_training.pseudo_labels.motion import moved_objects
from offline_training.pseudo_labels.segment_table import (
    features_in,
    joined,
    read_rows,
    read_segments,
)
from offline_training.pseudo_labels.stuff_classes import NO_STUFF
from offline_training.pseudo_labels.sweep_tracks import (
    TRACKED_BY,
    sweep_poses,
    sweep_tracks,
    unique_tracks,
)

# Largest numbers of objects and of their segments, some 100 MB in all: 200 fine clusters have 100
# objects each, enough to estimate the links between them.
MOST_OBJECTS, MOST_SEGMENTS = 20_000, 500_000


@dataclasses.dataclass(frozen=True)
class SampleJob:
    """A drive, and the part of it that classes are fitted on.

    Attributes:
        plan: the drive.
        learned: frames of each camera.
        follow_tracks: whether an object is a track, or every segment is one.
        seed: of the objects' random numbers.
        limit: objects with lower random numbers are used.
    """

    plan: DrivePlan
    learned: slice
    follow_tracks: bool
    seed: int
    limit: float = np.inf


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The candidate objects of one or several drives: those with the lowest random numbers.

    Attributes:
        draw: (N,) between 0 and 1, ascending.
        segments: (N,) number of segments of each in the fitted frames.
        stuff: the stuff classes in the fitted frames.
        learned: number of segments in the fitted frames, including stuff.
    """

    draw: NDArray[np.float64]
    segments: NDArray[np.int64]
    stuff: frozenset[int]
    learned: int

    def __add__(self, other: Candidates) -> Candidates:
        """Return the candidates of both."""
        draw = np.concatenate([self.draw, other.draw])
        lowest = _lowest(draw)
        return Candidates(
            draw[lowest],
            np.concatenate([self.segments, other.segments])[lowest],
            self.stuff | other.stuff,
            self.learned + other.learned,
        )

    def limit(self) -> float:
        """Return the limit below which objects are used; infinite for all."""
        most = int(np.searchsorted(np.cumsum(self.segments), MOST_SEGMENTS, 'right'))
        taken = max(min(most, MOST_OBJECTS), 1)
        return float(self.draw[taken]) if taken < len(self.draw) else np.inf


@dataclasses.dataclass(frozen=True)
class Sample:
    """The sample: all segments of some objects.

    Attributes:
        features: columns by group, each (S, D_group).
        pixels: (S,) each covers.
        owner: (S,) object each is a view of.
    """

    features: dict[str, NDArray[np.float32]]
    pixels: NDArray[np.int64]
    owner: NDArray[np.int64]


def track(job: SampleJob) -> Candidates:
    """Track a drive's objects, write the table of tracks, and draw the random numbers.

    Raises:
        DatasetError: if a table cannot be read or written.
    """
    plan = job.plan
    segments = read_segments(plan, [*TRACKED_BY, 'frame', 'stuff'])
    found = sweep_tracks(segments, sweep_poses(plan.all_frames()))
    number = unique_tracks(segments['sweep'], segments['id'], found)
    one, other = read_rows(plan, segments['frame'], 'matches').T
    apart = np.abs(segments['frame'][one] - segments['frame'][other]) >= LEAST_APART
    through = read_rows(plan, segments['frame'], 'seen_through')[:, 0]
    moved = moved_objects(number, one[apart], through)
    write_columns(plan.tracks_path, {'track': number, 'moved': moved})
    inside = plan.learned(job.learned)[segments['frame']]
    owner, draw = _draws(job, number)
    objects = inside & (segments['stuff'] == NO_STUFF)
    counts = np.bincount(owner[objects], minlength=len(draw))
    seen = np.flatnonzero(counts)
    lowest = seen[_lowest(draw[seen])]
    stuff = np.setdiff1d(segments['stuff'][inside], [NO_STUFF]).tolist()
    return Candidates(draw[lowest], counts[lowest], frozenset(stuff), int(inside.sum()))


def sample(job: SampleJob) -> Sample:
    """Return the segments of a drive's objects with random numbers below the limit.

    Raises:
        DatasetError: if a table cannot be read.
    """
    segments = read_segments(job.plan)
    owner, draw = _draws(job, read_columns(job.plan.tracks_path)['track'])
    inside = job.plan.learned(job.learned)[segments['frame']]
    taken = inside & (segments['stuff'] == NO_STUFF) & (draw[owner] < job.limit)
    return Sample(
        {name: values[taken] for name, values in features_in(segments).items()},
        segments['pixels'][taken].astype(np.int64),
        np.unique(owner[taken], return_inverse=True)[1].reshape(-1),
    )


def join_samples(drives: Sequence[Sample]) -> Sample:
    """Return the joint sample of drives, whose objects are different."""
    objects = np.cumsum([0, *(int(drive.owner.max(initial=-1)) + 1 for drive in drives)])
    owners = [drive.owner + first for drive, first in zip(drives, objects[:-1], strict=True)]
    return Sample(
        joined([drive.features for drive in drives]),
        np.concatenate([drive.pixels for drive in drives]),
        np.concatenate(owners),
    )


def _lowest(draw: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the lowest random numbers in order, one more than are used, which is the limit."""
    return np.argsort(draw, kind='stable')[: MOST_OBJECTS + 1]


def _draws(
    job: SampleJob, track: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the object of each segment, and each object's random number."""
    owner = track if job.follow_tracks else np.arange(len(track))
    random = np.random.default_rng([job.seed, job.plan.number])
    return owner, random.random(int(owner.max(initial=-1)) + 1)
