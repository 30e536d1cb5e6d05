"""The frames of a part of a video, counted from its beginning, as seeking is often inexact."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from drive_segment_ros.dataset.image_file import MAX_PIXELS
from drive_segment_ros.errors import ImageError
from drive_segment_ros.staging import staged
from offline_training.evaluation.image_part import IMAGES_A_PART, NamedImage, Wanted

# A larger number of frames in a header is wrong; such a video is not divided.
_MOST_FRAMES = 10_000_000


@dataclasses.dataclass(frozen=True)
class VideoImages:
    """A range of a video's frames.

    Attributes:
        path: of the video.
        start, stop: frame numbers from `start` to before `stop`; None for the end.
        count: number of frames in the range.
        frames: number of frames of the video by its header, an estimate in some formats.
        run: identifies the command: in the next one, the file may have changed.
    """

    path: Path
    start: int
    stop: int | None
    count: int
    frames: int
    run: str

    def __str__(self) -> str:
        """Return a description for messages."""
        return f'{self.path} from frame {self.start} on'

    def images(self, skipped: list[str], wanted: Wanted) -> Iterator[NamedImage]:
        """Yield the wanted images, see `ImagePart`."""
        video = _opened(self.path, self.run)
        if video.number > self.start:
            _opened.cache_clear()
            video = _opened(self.path, self.run)
        while self.stop is None or video.number < self.stop:
            name = f'{self.path.stem}/{video.number:06d}'
            if video.number < self.start or not wanted(name):
                read = video.skip()
            else:
                image = video.read()
                read = image is not None
                if image is not None:
                    yield name, np.asarray(image, np.uint8)
            if not read:
                break
        if self.stop is None and video.number < 0.95 * self.frames - 1.0:
            skipped.append(f'{self.path} ends after {video.number} of {self.frames} frames')


def video_parts(path: Path) -> list[VideoImages]:
    """Divide a video into ranges of frames.

    Raises:
        ImageError: if it cannot be read, or its frames exceed the largest size of images.
    """
    frames = _Video(path).frames
    last = max(frames - 1, 0) // IMAGES_A_PART * IMAGES_A_PART if frames < _MOST_FRAMES else 0
    starts = range(0, last, IMAGES_A_PART)
    run = uuid.uuid4().hex
    parts = [VideoImages(path, k, k + IMAGES_A_PART, IMAGES_A_PART, frames, run) for k in starts]
    return [*parts, VideoImages(path, last, None, frames - last, frames, run)]


class _Video:
    """A video that is read sequentially.

    Attributes:
        number: of the next frame.
        frames: number of frames by its header.
    """

    def __init__(self, path: Path) -> None:
        self.number = 0
        with contextlib.ExitStack() as stack:
            self._capture = cv2.VideoCapture(str(stack.enter_context(staged(path))))
            stack.callback(self._capture.release)
            if not self._capture.isOpened():
                raise ImageError(f'{path} is not a readable video')
            self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            refuse_large_video(self._capture, path)
            self._close = weakref.finalize(self, stack.pop_all().close)

    def skip(self) -> bool:
        """Skip a frame; return whether there was one."""
        there = self._capture.grab()
        self.number += there
        return there

    def read(self) -> cv2.typing.MatLike | None:
        """Return the next frame, None at the end."""
        there, image = self._capture.read()
        self.number += there
        return image if there else None


@functools.lru_cache(maxsize=1)
def _opened(path: Path, run: str) -> _Video:
    """Return an open video, positioned where this process finished its previous part."""
    return _Video(path)


def refuse_large_video(capture: cv2.VideoCapture, path: Path) -> None:
    """Raise ImageError if the frames of an open video exceed the largest size of images."""
    width, height = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{path} has frames of {width:.0f} x {height:.0f} px, above the limit {MAX_PIXELS}'
        )
