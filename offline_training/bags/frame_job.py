"""One sweep's work, as it travels to a worker and back: the frames of all cameras that see it."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Iterable, Iterator

from drive_segment_ros.dataset.frame import EncodedFrame
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.frame.build import build, to_frame
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.reasons import reason_of
from offline_training.bags.preview import draw_preview

# Cameras are triggered one after the other, so pairs of a few sweeps come mixed.
_OPEN_SWEEPS = 3


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all jobs of a drive share.

    Attributes:
        params: how frames are made.
        preview: whether a picture of each frame is wanted.
    """

    params: FrameParameters
    preview: bool


@dataclasses.dataclass(frozen=True)
class FrameJob:
    """The images of one sweep, still encoded.

    Attributes:
        setup: a pickled `Setup`; the same bytes for all jobs of a drive.
        pairs: all of one sweep.
    """

    setup: bytes
    pairs: list[Pair]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A frame, or why there is none.

    Attributes:
        pair_of: the camera's name and the image's stamp, nanoseconds.
        frame: the frame's files, None where it failed.
        preview: a PNG, None where none was asked for.
        reason: what the failure is counted under, empty on success.
        message: the failure in words.
    """

    pair_of: tuple[str, int]
    frame: EncodedFrame | None
    preview: bytes | None = None
    reason: str = ''
    message: str = ''


def jobs_of(setup: bytes, pairs: Iterable[Pair]) -> Iterator[FrameJob]:
    """Yield a job a sweep; of one whose last pairs come late, another for those."""
    waiting: dict[int, list[Pair]] = {}
    for pair in pairs:
        waiting.setdefault(id(pair.sweep), []).append(pair)
        if len(waiting) > _OPEN_SWEEPS:
            yield FrameJob(setup, waiting.pop(next(iter(waiting))))
    for group in waiting.values():
        yield FrameJob(setup, group)


def run(job: FrameJob) -> list[Outcome]:
    """Build a job's frames; errors in the data become part of the outcomes."""
    setup = _prepared(job.setup)
    return [_outcome(pair, setup) for pair in job.pairs]


def _outcome(pair: Pair, setup: Setup) -> Outcome:
    pair_of = pair.image.camera, pair.image.stamp_ns
    try:
        built = build(pair, setup.params)
        frame = to_frame(built, setup.params)
        preview = draw_preview(built, frame.image) if setup.preview else None
        return Outcome(pair_of, frame.encoded(), preview)
    except DriveSegmentError as err:
        reason = reason_of(err)
        if reason == 'error':
            raise
        return Outcome(pair_of, None, reason=reason, message=str(err))


@functools.lru_cache(maxsize=1)
def _prepared(setup: bytes) -> Setup:
    found: Setup = pickle.loads(setup)
    return found
