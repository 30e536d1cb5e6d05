"""Describes a range of frames: the features of each segment, and its matches in other frames.

The result is three tables per range; afterwards images are read again only for galleries.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.reader import Drive, FrameRecord
from drive_segment_ros.errors import DatasetError
from offline_training.pseudo_labels.columns import write_columns
from offline_training.pseudo_labels.cross_frame_matches import WINDOW, CrossFrameMatcher
from offline_training.pseudo_labels.drive_plan import DrivePlan, FrameRange
from offline_training.pseudo_labels.features import Features, choose_features
from offline_training.pseudo_labels.segment_table import DESCRIBED, FEATURE, ROWS_A_FRAME, joined
from offline_training.pseudo_labels.stuff_classes import stuff_classes
from offline_training.pseudo_labels.sweep_tracks import NOT_RECORDED, pose
from offline_training.pseudo_labels.tracks import PLACE_AND_SIZE


@dataclasses.dataclass(frozen=True)
class DescribeJob:
    """A range of frames to describe and the name of the features."""

    plan: DrivePlan
    part: FrameRange
    features: str


@dataclasses.dataclass(frozen=True)
class SeenSegments:
    """The proposals of a frame that are visible in its image.

    Attributes:
        segment: (H, W) uint16 proposal ids.
        proposals: arrays of P rows, those with a pixel.
        pixels: (P,) of each.
        rows: (P,) int64, in the tables: the frame's index in its camera, and which of its rows.
    """

    segment: NDArray[np.uint16]
    proposals: dict[str, NDArray[Any]]
    pixels: NDArray[np.int64]
    rows: NDArray[np.int64]


def describe(job: DescribeJob) -> int:
    """Describe the segments of a range, match them, and write the tables.

    The frames before the range with which its frames are matched are also read, without images, so
    that matches do not depend on the division of a drive.

    Returns:
        The number of segments.

    Raises:
        DatasetError: if a frame cannot be read, or a table cannot be written.
    """
    from threadpoolctl import threadpool_limits

    features = _features(job.features)
    frames = job.plan.camera_frames(job.part.camera)
    drive = job.plan.opened(job.part.camera)
    matcher = CrossFrameMatcher(_calibration(drive, job.part.camera))
    described: list[dict[str, NDArray[Any]]] = []
    # The order of sums over several threads varies, and with it their last bits.
    with threadpool_limits(1):
        for index in range(max(job.part.first - WINDOW, 0), job.part.last):
            frame = frames[index]
            seen = seen_segments(frame, index)
            take = matcher.add if index >= job.part.first else matcher.remember
            try:
                take(seen.rows, seen.proposals, seen.segment, pose(frame))
                if index >= job.part.first:
                    described.append(describe_frame(frame, index, seen, features))
            except KeyError as err:
                raise DatasetError(
                    f'{frame.proposal_path} lacks {err}; extract the drive again'
                ) from err
    columns = joined(described)
    write_columns(job.plan.path(job.part, 'segments'), columns)
    one, other = matcher.matches().T
    write_columns(job.plan.path(job.part, 'matches'), {'one': one, 'other': other})
    write_columns(job.plan.path(job.part, 'seen_through'), {'one': matcher.seen_through()})
    return len(columns['id'])


def seen_segments(frame: FrameRecord, index: int) -> SeenSegments:
    """Read the segments of a frame; those without a pixel are omitted."""
    segment, proposals = frame.segment(), frame.proposals()
    pixels = np.bincount(segment.ravel(), minlength=65536)[proposals['id']]
    seen = pixels > 0
    rows = index * ROWS_A_FRAME + np.arange(np.count_nonzero(seen))
    shown = {name: values[seen] for name, values in proposals.items()}
    return SeenSegments(segment, shown, pixels[seen], rows)


def describe_frame(
    frame: FrameRecord, index: int, seen: SeenSegments, features: Features
) -> dict[str, NDArray[Any]]:
    """Return the columns of a frame's segments.

    Args:
        frame: to read the image of.
        index: of the frame in its camera.
        seen: its segments.
        features: of segments.
    """
    proposals, count = seen.proposals, len(seen.rows)
    unknown = np.full(count, np.nan, np.float32)
    return {
        'frame': np.full(count, index, np.int32),
        'sweep': np.full(count, frame.sweep_stamp_ns, np.int64),
        'id': proposals['id'].astype(np.uint16),
        'kind': proposals['kind'].astype(np.uint8),
        'stuff': stuff_classes(proposals).astype(np.int8),
        'pixels': seen.pixels.astype(np.int32),
        'track': proposals.get('track', np.full(count, NOT_RECORDED)).astype(np.int64),
        **_floats(proposals, unknown),
        **{
            f'{FEATURE}{group}': values
            for group, values in features(frame.image(), seen.segment, proposals).items()
        },
    }


def _floats(
    proposals: Mapping[str, NDArray[Any]], unknown: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    names = dict.fromkeys((*DESCRIBED, *PLACE_AND_SIZE))
    return {name: proposals.get(name, unknown).astype(np.float32) for name in names}


@functools.lru_cache(maxsize=1)
def _features(name: str) -> Features:
    return choose_features(name)


def _calibration(drive: Drive, camera: str) -> DriveCalibration | None:
    known = 'model' in drive.info['cameras'][camera]
    return DriveCalibration.of(drive, camera) if known else None
