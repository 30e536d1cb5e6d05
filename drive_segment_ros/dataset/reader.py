"""Read a dataset: a folder of drives, each a folder of frames."""

from __future__ import annotations

import dataclasses
import functools
import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import MODEL_FOLDERS, REQUIRED
from drive_segment_ros.dataset.image_file import read_image_file
from drive_segment_ros.dataset.index import parse_index
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.text_files import read_json
from drive_segment_ros.what_is import not_wanted

_log = logging.getLogger(__name__)
# Some 100 kB are usual.
_LARGEST_PROPOSALS = 100_000_000


@dataclasses.dataclass(frozen=True)
class FrameRecord:
    """One frame on disk; its files are read when asked for.

    Attributes:
        stamp_ns: the image's header stamp, nanoseconds.
        record: its line in `frames.jsonl`.
        image_path, segment_path, proposal_path: its files.
        pseudo_label_path: where its pseudo-label lies once `label` has made one.
        model_label_path, model_confidence_path: what a model saw while it was recorded; None where
            none ran.
    """

    stamp_ns: int
    record: dict[str, Any]
    image_path: Path
    segment_path: Path
    proposal_path: Path
    pseudo_label_path: Path
    model_label_path: Path | None = None
    model_confidence_path: Path | None = None

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR."""
        # A turned image would no longer lie on its segments.
        return _read_image(self.image_path)

    def segment(self) -> NDArray[np.uint16]:
        """Return the proposal id of each pixel, (H, W) uint16, 0 = none."""
        return _read_labels(self.segment_path, np.uint16)

    def pseudo_label(self) -> NDArray[np.uint8]:
        """Return the pseudo-class of each pixel, (H, W) uint8, 255 = unknown."""
        return _read_labels(self.pseudo_label_path, np.uint8)

    def model_label(self) -> NDArray[np.uint8]:
        """Return what a model saw while recording, (h, w) uint8, at the model's resolution.

        Raises:
            DatasetError: if none ran, or the file cannot be read.
        """
        return _read_labels(self._of_model(self.model_label_path), np.uint8)

    def model_confidence(self) -> NDArray[np.uint8]:
        """Return how sure the model was, (h, w) uint8, 255 is certain.

        Raises:
            DatasetError: as `model_label`.
        """
        return _read_labels(self._of_model(self.model_confidence_path), np.uint8)

    def _of_model(self, path: Path | None) -> Path:
        if path is None:
            raise DatasetError(
                f'frame {self.stamp_ns} of {self.image_path.parents[1]} was recorded without a '
                'model; set the recorder parameter model'
            )
        return path

    def proposals(self) -> dict[str, NDArray[Any]]:
        """Return the proposals' arrays by name, a row per proposal."""
        try:
            return read_proposals(self.proposal_path)
        except OSError as err:
            raise DatasetError(f'cannot read {self.proposal_path}: {err.strerror}') from err
        except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as err:
            raise DatasetError(f'{self.proposal_path} holds no proposals: {err}') from err


class Drive:
    """One drive of a dataset.

    Attributes:
        path: its folder.
        info: `drive.json`: sensors, calibration, parameters, software version, source.
    """

    def __init__(self, path: Path | str) -> None:
        """Read `drive.json`.

        Raises:
            DatasetError: if there is none or it is not a JSON object.
        """
        self.path = Path(path)
        file = self.path / 'drive.json'
        try:
            info = read_json(file)
        except OSError as err:
            raise DatasetError(f'{self.path} is no drive: {file.name}: {err.strerror}') from err
        except ValueError as err:
            raise DatasetError(f'{file} is not JSON that can be read: {err}') from err
        if not isinstance(info, dict):
            raise DatasetError(f'{file} is not a JSON object')
        self.info: dict[str, Any] = info

    @property
    def name(self) -> str:
        """The drive's name, that of its folder."""
        return self.path.name

    @functools.cached_property
    def frames(self) -> list[FrameRecord]:
        """The frames by stamp; a torn last line, left by a crash, is skipped with a warning.

        Raises:
            DatasetError: if the index is missing or damaged.
        """
        path = self.path / 'frames.jsonl'
        try:
            index = parse_index(path.read_bytes(), path)
        except OSError as err:
            raise DatasetError(f'cannot read {path}: {err.strerror}') from err
        if index.torn:
            _log.warning('%s: last line is incomplete, as a crash leaves it; ignored', path)
        frames = [self._frame(record, path) for record in index.records]
        return sorted(frames, key=lambda frame: frame.stamp_ns)

    def _frame(self, record: dict[str, Any], index: Path) -> FrameRecord:
        try:
            stamp_ns = int(record['stamp_ns'])
            image, segment, proposal = (
                self.path / record[name] for name in ('image', 'segment', 'proposal')
            )
        except (KeyError, TypeError, ValueError) as err:
            raise DatasetError(f'{index}: a line lacks {err}; it is of another format') from err
        label = self.path / 'pseudo_label' / f'{stamp_ns}.png'
        answers = [self.path / record[name] if name in record else None for name in MODEL_FOLDERS]
        return FrameRecord(stamp_ns, record, image, segment, proposal, label, *answers)


class Dataset:
    """A folder of drives.

    Attributes:
        path: the folder.
        drives: by name.
    """

    def __init__(self, path: Path | str) -> None:
        """Find the drives.

        Raises:
            DatasetError: if the folder is missing, is a drive itself, or holds none.
        """
        self.path = Path(path)
        if (self.path / 'drive.json').exists():
            raise DatasetError(f'{self.path} is one drive; give the folder above it')
        folders = sorted(file.parent for file in self.path.glob('*/drive.json'))
        if not folders:
            advice = 'give a folder of drives, as `drive-segment extract BAG -o DATASET` writes it'
            raise DatasetError(not_wanted(self.path, 'a dataset', advice))
        self.drives = [Drive(folder) for folder in folders]


def read_proposals(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a frame's proposals.

    Raises:
        OSError, ValueError, EOFError, MemoryError, BadZipFile, zlib.error: if they cannot be read,
            are larger than any sweep's, or not one row a proposal.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST_PROPOSALS:
            raise ValueError(f'{size} bytes of arrays')
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    lacking = [name for name in REQUIRED if name not in arrays]
    if lacking:
        raise ValueError(f'{lacking[0]} is missing')
    for name, values in arrays.items():
        if values.ndim != 1 or len(values) != len(arrays['id']):
            raise ValueError(f'{name} is not one row a proposal')
        if values.dtype.kind not in ('iu' if name in REQUIRED else 'iufb'):
            raise ValueError(f'{name} is of type {values.dtype}')
    if len(arrays['id']) and not 0 <= arrays['id'].min() <= arrays['id'].max() < 2**16:
        raise ValueError('an id is beyond those of a segment image')
    return arrays


def _read_image(path: Path, *, unchanged: bool = False) -> NDArray[Any]:
    try:
        return read_image_file(np.fromfile(path, np.uint8), unchanged=unchanged)
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    except ImageError as err:
        raise DatasetError(f'{path} {err}') from err


def _read_labels(path: Path, dtype: type) -> NDArray[Any]:
    image = _read_image(path, unchanged=True)
    if image.dtype != dtype or image.ndim != 2:
        raise DatasetError(
            f'{path} holds {image.dtype} of shape {image.shape}, not one {np.dtype(dtype)} channel'
        )
    return image
