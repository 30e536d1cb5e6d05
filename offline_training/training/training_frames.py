"""Selects the training frames and the network's input size."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from drive_segment_ros.dataset.label_sets import check_set_name
from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.perception.resizing import is_distorted
from drive_segment_ros.storage import files_there
from offline_training.common.frame_selection import name_of, select_frames
from offline_training.training.frame_images import WithImage
from offline_training.training.processes import Alive, distributed_rank, together

_log = logging.getLogger(__name__)


def labelled_frames(
    datasets: Sequence[Path],
    frames: str = '',
    cameras: Sequence[str] = (),
    labels: str = '',
) -> list[FrameRecord]:
    """Return the chosen frames of all cameras of all drives, see `select_frames`.

    Each process checks that its share of the frames has pseudo-labels in the set `labels`.

    Raises:
        DatasetError: if a frame has none.
    """
    check_set_name(labels)

    def labelled(alive: Alive) -> list[FrameRecord]:
        selection = select_frames(Dataset(*datasets), frames, cameras)
        chosen = [frame.with_labels(labels) for camera in selection for frame in camera]
        rank, world = distributed_rank()
        mine = chosen[rank::world]
        there = files_there(frame.pseudo_label_path for frame in mine)
        for frame in mine:
            if frame.pseudo_label_path not in there:
                raise DatasetError(
                    f'{frame.drive}: frame {frame.stamp_ns} of camera {frame.camera} has no '
                    'pseudo-label; run `drive-segment label '
                    f'{" ".join(map(str, datasets))}{f" --labels {labels}" if labels else ""}` '
                    'first, or choose cameras with --camera'
                )
        return chosen

    return together(labelled)


def left_out(
    datasets: Sequence[Path],
    frames: str = '',
    cameras: Sequence[str] = (),
    labels: str = '',
) -> list[FrameRecord]:
    """Return labelled frames of the chosen cameras that `labelled_frames` leaves out."""
    chosen = {
        frame.image_path
        for camera in select_frames(Dataset(*datasets), frames, cameras)
        for frame in camera
    }
    others = [
        frame.with_labels(labels)
        for camera in select_frames(Dataset(*datasets), '', cameras)
        for frame in camera
        if frame.image_path not in chosen
    ]
    there = files_there(frame.pseudo_label_path for frame in others)
    return [frame for frame in others if frame.pseudo_label_path in there]


def names_of(frames: Sequence[FrameRecord]) -> str:
    """Return a hash of the frames' drives, cameras and stamps, independent of their content."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(name_of(frame))
    return digest.hexdigest()


def input_size(frame: WithImage, height: int, width: int) -> tuple[int, int]:
    """Return the network's input height and width; a height of 0 keeps the image's aspect.

    Such a height is rounded to a multiple of 16.
    """
    if height:
        return height, width
    rows, columns = frame.image().shape[:2]
    return max(round(width * rows / columns / 16), 1) * 16, width


def warn_of_aspects(frames: Sequence[FrameRecord], height: int, width: int) -> None:
    """Log cameras whose images are cropped because all are resized to one input size."""
    told: set[str] = set()
    for frame in {(frame.drive, frame.camera): frame for frame in frames}.values():
        rows, columns = frame.image().shape[:2]
        if is_distorted((rows, columns), height, width) and frame.camera not in told:
            told.add(frame.camera)
            _log.warning(
                'of images of camera %s, %d x %d, the centre is learned, in the aspect ratio of '
                '%d x %d; choose cameras of one aspect ratio with --camera',
                *(frame.camera, columns, rows, width, height),
            )
