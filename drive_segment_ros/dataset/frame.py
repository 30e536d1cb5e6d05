"""One frame of a dataset: an image, its segments and its sweep's proposals; and its files."""

from __future__ import annotations

import dataclasses
import functools
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError

# Folder of the sweeps' proposals in a drive; an image's files are in folders of its camera.
PROPOSAL_FOLDER = 'proposal'
# Folders of a camera: for every frame, and with a model; also the keys of their paths.
FOLDERS = ('image', 'segment')
MODEL_FOLDERS = ('model_label', 'model_confidence')
# Arrays that every file has.
REQUIRED = ('id', 'kind', 'points')
# The oldest date of a zip archive, fixed so that equal arrays give equal bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class SweepRecord:
    """The proposals of a sweep, the same for every camera that sees it.

    Attributes:
        stamp_ns: the sweep's header stamp, nanoseconds; names the file.
        proposals: arrays of one length, a row per proposal: `id` uint16 (the sweep's label: 1
            ground, 2 raised ground, 3 sky, 4.. objects), `kind` uint8, `points` int32 (the
            sweep's points in it), and any further geometry.
    """

    stamp_ns: int
    proposals: Mapping[str, NDArray[Any]]

    @property
    def path(self) -> str:
        """Its file, relative to the drive."""
        return proposal_path(self.stamp_ns)

    @functools.cached_property
    def encoded(self) -> bytes:
        """The content of its file; equal proposals give equal bytes.

        Raises:
            DatasetError: if the arrays do not comply with the format.
        """
        lengths = {name: len(values) for name, values in self.proposals.items()}
        if any(name not in lengths for name in REQUIRED) or len(set(lengths.values())) != 1:
            raise DatasetError(
                f'sweep {self.stamp_ns}: proposals need {", ".join(REQUIRED)} and arrays of one '
                f'length; got {lengths}'
            )
        ids = self.proposals['id']
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < 2**16:
            raise DatasetError(
                f'sweep {self.stamp_ns}: a proposal has id {int(ids.max())}, but a segment image '
                'holds ids up to 65535; raise proposals.min_points'
            )
        return encode_npz(self.proposals)


@dataclasses.dataclass(frozen=True)
class Frame:
    """The result of an image and its sweep, as arrays.

    Attributes:
        camera: its name, that of its folder in the drive.
        stamp_ns: the image's header stamp, nanoseconds; names the frame's files.
        image: the encoded image, as received if it was compressed.
        image_suffix: `.jpg` or `.png`, the format of `image`.
        segment: (H, W) uint16 the sweep's proposal id per pixel at the working resolution, 0 =
            none.
        sweep: the sweep's proposals.
        record: further entries (offset, motion, ...), ready for JSON.
        model_label: (h, w) uint8, the prediction of a model at its own resolution; None without.
        model_confidence: (h, w) uint8, its confidence, 255 is certain; None without `model_label`.
    """

    camera: str
    stamp_ns: int
    image: bytes
    image_suffix: str
    segment: NDArray[np.uint16]
    sweep: SweepRecord
    record: Mapping[str, Any]
    model_label: NDArray[np.uint8] | None = None
    model_confidence: NDArray[np.uint8] | None = None

    def encoded(self) -> EncodedFrame:
        """Return the frame's files; equal frames give equal bytes.

        Raises:
            DatasetError: if the arrays do not comply with the format.
        """
        if self.segment.dtype != np.uint16 or self.segment.ndim != 2:
            raise DatasetError(
                f'frame {self.stamp_ns} of {self.camera}: segment image is {self.segment.dtype} '
                f'of shape {self.segment.shape}, not uint16 of (height, width)'
            )
        paths = {
            'image': f'image/{self.stamp_ns}{self.image_suffix}',
            'segment': f'segment/{self.stamp_ns}.png',
        }
        files = {'image': self.image, 'segment': encode_png(self.segment)}
        for name in MODEL_FOLDERS:
            answer = getattr(self, name)
            if answer is not None:
                paths[name] = f'{name}/{self.stamp_ns}.png'
                files[name] = encode_png(answer)
        stamps = {'stamp_ns': self.stamp_ns, 'sweep_stamp_ns': self.sweep.stamp_ns}
        return EncodedFrame(
            self.camera,
            self.stamp_ns,
            self.sweep.stamp_ns,
            {
                **{f'{self.camera}/{paths[name]}': data for name, data in files.items()},
                self.sweep.path: self.sweep.encoded,
            },
            {**self.record, **stamps, **paths},
        )


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """A frame as written to disk: small, and cheap to pass between processes.

    Attributes:
        camera: its name.
        stamp_ns: the image's header stamp, nanoseconds.
        sweep_stamp_ns: the sweep's.
        files: path relative to the drive -> content; with its sweep's proposals.
        record: the frame's line in the camera's `frames.jsonl`; its paths are relative to the
            camera's folder.
    """

    camera: str
    stamp_ns: int
    sweep_stamp_ns: int
    files: Mapping[str, bytes]
    record: Mapping[str, Any]


def proposal_path(sweep_stamp_ns: int) -> str:
    """Return the path of a sweep's proposals, relative to the drive."""
    return f'{PROPOSAL_FOLDER}/{sweep_stamp_ns}.npz'


def encode_png(image: NDArray[Any]) -> bytes:
    """Encode a label image, (H, W) uint8 or uint16.

    OpenCV's default level is used on purpose: higher levels take three to fifty times as long for
    a tenth fewer bytes.

    Raises:
        DatasetError: if it cannot be encoded.
    """
    import cv2

    ok, data = cv2.imencode('.png', image)
    if not ok:
        raise DatasetError(f'cannot encode a {image.dtype} image of shape {image.shape} as PNG')
    return data.tobytes()


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays as NumPy's .npz, sorted by name, without dates and compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]))
            info = zipfile.ZipInfo(f'{name}.npy', _ZIP_EPOCH)
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()
