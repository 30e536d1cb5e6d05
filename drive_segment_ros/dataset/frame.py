"""One frame of a dataset: an image, its segments and their proposals; and its files."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError

# Where the files of every frame lie, and those a model adds; also the names of their paths.
FOLDERS = ('image', 'segment', 'proposal')
MODEL_FOLDERS = ('model_label', 'model_confidence')
# Of every proposal.
REQUIRED = ('id', 'kind', 'points')
# The oldest date a zip archive can hold: equal arrays must give equal bytes on any day.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Frame:
    """What one image and its sweep yielded, still as arrays.

    Attributes:
        stamp_ns: the image's header stamp, nanoseconds; names the frame's files.
        image: the encoded image, as received where it came compressed.
        image_suffix: `.jpg` or `.png`, what `image` is encoded as.
        segment: (H, W) uint16 proposal id per pixel at the working resolution, 0 = none.
        proposals: arrays of one length, a row per proposal: `id` uint16, `kind` uint8,
            `points` int32, and any further geometry.
        record: what else is known (sweep stamp, offset, motion, ...), ready for JSON.
        model_label: (h, w) uint8, what a trained model saw at its own resolution; None without.
        model_confidence: (h, w) uint8, how sure it was, 255 is certain; there if `model_label` is.
    """

    stamp_ns: int
    image: bytes
    image_suffix: str
    segment: NDArray[np.uint16]
    proposals: Mapping[str, NDArray[Any]]
    record: Mapping[str, Any]
    model_label: NDArray[np.uint8] | None = None
    model_confidence: NDArray[np.uint8] | None = None

    def encoded(self) -> EncodedFrame:
        """Return the frame's files; equal frames give equal bytes.

        Raises:
            DatasetError: if the arrays are not what the format asks for.
        """
        if self.segment.dtype != np.uint16 or self.segment.ndim != 2:
            raise DatasetError(
                f'frame {self.stamp_ns}: segment image is {self.segment.dtype} of shape '
                f'{self.segment.shape}, not uint16 of (height, width)'
            )
        lengths = {name: len(values) for name, values in self.proposals.items()}
        if any(name not in lengths for name in REQUIRED) or len(set(lengths.values())) != 1:
            raise DatasetError(
                f'frame {self.stamp_ns}: proposals need {", ".join(REQUIRED)} and arrays of one '
                f'length; got {lengths}'
            )
        paths = {
            'image': f'image/{self.stamp_ns}{self.image_suffix}',
            'segment': f'segment/{self.stamp_ns}.png',
            'proposal': f'proposal/{self.stamp_ns}.npz',
        }
        files = {
            paths['image']: self.image,
            paths['segment']: encode_png(self.segment),
            paths['proposal']: encode_npz(self.proposals),
        }
        for name in MODEL_FOLDERS:
            answer = getattr(self, name)
            if answer is not None:
                paths[name] = f'{name}/{self.stamp_ns}.png'
                files[paths[name]] = encode_png(answer)
        return EncodedFrame(
            self.stamp_ns, files, {**self.record, 'stamp_ns': self.stamp_ns, **paths}
        )


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """A frame as it will lie on disk: small, and cheap to hand from one process to another.

    Attributes:
        stamp_ns: the image's header stamp, nanoseconds.
        files: path relative to the drive -> content.
        record: the frame's line in `frames.jsonl`; holds the paths.
    """

    stamp_ns: int
    files: Mapping[str, bytes]
    record: Mapping[str, Any]


def encode_png(image: NDArray[Any]) -> bytes:
    """Encode a label image.

    OpenCV's default is kept on purpose: on 960x540 segment images it takes 2.3 to 3.4 ms; higher
    levels take three to fifty times as long for a tenth fewer bytes.
    """
    import cv2

    ok, data = cv2.imencode('.png', image)
    if not ok:
        raise DatasetError(f'cannot encode a {image.dtype} image of shape {image.shape} as PNG')
    return data.tobytes()


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays as NumPy's .npz, sorted by name and without dates or compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]))
            info = zipfile.ZipInfo(f'{name}.npy', _ZIP_EPOCH)
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()
