"""Writes pictures as a video, MP4 or WebM, by PyAV (FFmpeg)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError, OutputError
from drive_segment_ros.perception.resizing import resize_image

# Encoder and its options; browsers play both.
_ENCODERS = {
    '.mp4': ('libx264', {'crf': '20', 'preset': 'veryfast'}),
    '.webm': ('libvpx-vp9', {'crf': '32', 'b': '0', 'deadline': 'realtime', 'cpu-used': '6'}),
}
VIDEO_SUFFIXES = tuple(_ENCODERS)


class VideoWriter:
    """A new video; a context manager, which raises OutputError if the end cannot be written.

    All pictures are resized to the first one.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        """Store the path; nothing is written before the first picture.

        Args:
            path: with a suffix of `VIDEO_SUFFIXES`, which determines the format.
            rate_hz: pictures per second.

        Raises:
            DependencyError: if PyAV is not installed.
        """
        try:
            import av
        except ImportError as err:
            raise DependencyError("a video needs PyAV; pip install '.[video]'") from err
        self._av, self._path = av, path
        self._rate = Fraction(rate_hz).limit_denominator(1000)
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
            self._container.close()
        except (self._av.FFmpegError, OSError) as err:
            if kind is None:
                raise self._failed(err) from err

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add a picture, (H, W, 3) uint8 BGR.

        Raises:
            OutputError: if it cannot be encoded or written.
        """
        try:
            if self._container is None:
                self._begin(*picture.shape[:2])
            frame = self._av.VideoFrame.from_ndarray(self._fitting(picture), format='bgr24')
            self._container.mux(self._stream.encode(frame))
        except (self._av.FFmpegError, OSError) as err:
            raise self._failed(err) from err

    def _failed(self, err: Any) -> OutputError:
        return OutputError(f'cannot write {self._path}: {err.strerror}')

    def _fitting(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self._stream.height, self._stream.width
        if all(0 <= n - m <= 1 for n, m in zip(picture.shape, (height, width), strict=False)):
            return np.ascontiguousarray(picture[:height, :width])
        return resize_image(picture, height, width)

    def _begin(self, height: int, width: int) -> None:
        encoder, options = _ENCODERS[self._path.suffix.lower()]
        self._container = self._av.open(str(self._path), 'w')
        self._stream = self._container.add_stream(encoder, self._rate, options=options)
        # Colours are stored at half the resolution, so sides must be even.
        self._stream.width, self._stream.height = (
            max(side // 2 * 2, 2) for side in (width, height)
        )
        self._stream.pix_fmt = 'yuv420p'
