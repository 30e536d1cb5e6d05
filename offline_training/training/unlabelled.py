"""Images without pseudo-labels, on which a student is trained with its teacher's predictions.

They may be of other cameras, drives or towns, with or without a LiDAR.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.own_files import DRIVE_FILE
from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.storage import folder_names, is_there
from offline_training.common.image_files import IMAGE_SUFFIXES, files_in, read_image
from offline_training.training.frame_images import Images


class StudentFrame(Protocol):
    """A frame to train a student on: a `FrameRecord`, or an image without labels."""

    @property
    def camera(self) -> str:
        """The name of its camera."""

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR."""

    def segment(self) -> NDArray[np.uint16]:
        """Return the proposal id of each pixel, 0 = none, of any size."""

    def pseudo_label(self) -> NDArray[np.uint8]:
        """Return the pseudo-class of each pixel, 255 = unknown, of any size."""


@dataclasses.dataclass(frozen=True)
class UnlabelledFrame:
    """A frame of a dataset: its LiDAR segments are regions, its pseudo-labels are not read."""

    frame: FrameRecord

    @property
    def camera(self) -> str:
        """Its camera's name."""
        return self.frame.camera

    @property
    def path(self) -> Path:
        """Return its image's file."""
        return self.frame.image_path

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR."""
        return self.frame.image()

    def segment(self) -> NDArray[np.uint16]:
        """Return the proposal id of each pixel, (H, W) uint16, 0 = none."""
        return self.frame.segment()

    def pseudo_label(self) -> NDArray[np.uint8]:
        """Return that nothing is known, (1, 1) uint8."""
        return np.full((1, 1), IGNORE_LABEL, np.uint8)


@dataclasses.dataclass(frozen=True)
class UnlabelledImage:
    """An image file."""

    path: Path

    @property
    def camera(self) -> str:
        """Its folder, whose images are taken to be of one camera."""
        return str(self.path.parent)

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR."""
        return read_image(self.path)

    def segment(self) -> NDArray[np.uint16]:
        """Return that there is none, (1, 1) uint16."""
        return np.zeros((1, 1), np.uint16)

    def pseudo_label(self) -> NDArray[np.uint8]:
        """Return that nothing is known, (1, 1) uint8."""
        return np.full((1, 1), IGNORE_LABEL, np.uint8)


def unlabelled_frames(sources: Sequence[Path]) -> list[UnlabelledFrame | UnlabelledImage]:
    """Return the images of some sources, in order.

    Args:
        sources: image files, folders of images (searched below too), drives and datasets.

    Raises:
        ImageError, DatasetError: if one is missing or holds none.
    """
    found: list[UnlabelledFrame | UnlabelledImage] = []
    for source in sources:
        if not source.exists():
            raise ImageError(f'{source} does not exist')
        if not source.is_dir():
            if source.suffix.lower() not in IMAGE_SUFFIXES:
                raise ImageError(
                    f'{source} is not an image ({", ".join(IMAGE_SUFFIXES)}); extract bags first, '
                    'then give the dataset'
                )
            found.append(UnlabelledImage(source))
        elif _holds_drives(source):
            frames = [frame for drive in Dataset(source).drives for frame in drive.frames]
            if not frames:
                raise DatasetError(f'{source} has no frame')
            found += map(UnlabelledFrame, frames)
        else:
            found += map(UnlabelledImage, files_in(source))
    return found


def fingerprint_of(frames: Sequence[UnlabelledFrame | UnlabelledImage]) -> str:
    """Return a hash of the images' names and sizes; empty for no images."""
    if not frames:
        return ''
    digest = hashlib.sha256()
    for frame in frames:
        name = '/'.join(frame.path.parts[-3:])
        digest.update(os.fsencode(f'{name} {frame.path.stat().st_size}\n'))
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class JoinedImages:
    """The images of several sources, concatenated."""

    first: Images
    second: Images

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if index < len(self.first):
            return self.first[index]
        return self.second[index - len(self.first)]


def _holds_drives(folder: Path) -> bool:
    if is_there(folder / DRIVE_FILE):
        return True
    return any(is_there(folder / name / DRIVE_FILE) for name in folder_names(folder))
