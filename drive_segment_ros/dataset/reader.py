"""Read a dataset: a folder of drives, each a folder of frames."""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import MODEL_FOLDERS, proposal_path
from drive_segment_ros.dataset.image_file import read_image_file
from drive_segment_ros.dataset.index import parse_index
from drive_segment_ros.dataset.label_sets import label_folder
from drive_segment_ros.dataset.own_files import DRIVE_FILE, INDEX_FILE, check_camera_name
from drive_segment_ros.dataset.proposal_file import read_proposals
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.storage import folder_names, is_remote, location, read_many, read_whole
from drive_segment_ros.text_files import parse_json, read_json
from drive_segment_ros.what_is import not_wanted

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FrameRecord:
    """One frame on disk; its files are read on demand.

    Attributes:
        drive: folder of its drive.
        camera: name of its camera.
        stamp_ns: the image's header stamp, nanoseconds.
        sweep_stamp_ns: its sweep's; frames of one sweep share its proposals and their ids.
        record: its line in `frames.jsonl`.
        image_path, segment_path: its files.
        proposal_path: its sweep's.
        pseudo_label_path: where its pseudo-label lies once `label` has made one.
        model_label_path, model_confidence_path: the predictions of the model that ran during
            recording; None without one.
    """

    drive: Path
    camera: str
    stamp_ns: int
    sweep_stamp_ns: int
    record: dict[str, Any]
    image_path: Path
    segment_path: Path
    proposal_path: Path
    pseudo_label_path: Path
    model_label_path: Path | None = None
    model_confidence_path: Path | None = None

    def with_labels(self, labels: str) -> FrameRecord:
        """Return the frame with its pseudo-label from a label set."""
        path = label_folder(self.drive, self.camera, labels) / f'{self.stamp_ns}.png'
        return dataclasses.replace(self, pseudo_label_path=path)

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR, at the camera's own resolution.

        Raises:
            DatasetError: if the file cannot be read or decoded.
        """
        # A rotated image would not match its segments.
        return _read_image(self.image_path)

    def segment(self) -> NDArray[np.uint16]:
        """Return the proposal id of each pixel, (H, W) uint16, 0 = none, at working resolution.

        Raises:
            DatasetError: if the file cannot be read, or has another type.
        """
        return _read_labels(self.segment_path, np.uint16)

    def pseudo_label(self) -> NDArray[np.uint8]:
        """Return the pseudo-class of each pixel, (H, W) uint8, 255 = unknown, as `segment`.

        Raises:
            DatasetError: if there is none, or the file cannot be read, or has another type.
        """
        return _read_labels(self.pseudo_label_path, np.uint8)

    def model_label(self) -> NDArray[np.uint8]:
        """Return the model's prediction while recording, (h, w) uint8, at its resolution.

        Raises:
            DatasetError: if no model ran, or the file cannot be read.
        """
        return _read_labels(self._of_model(self.model_label_path), np.uint8)

    def model_confidence(self) -> NDArray[np.uint8]:
        """Return the model's confidence while recording, (h, w) uint8, 255 is certain.

        Raises:
            DatasetError: as `model_label`.
        """
        return _read_labels(self._of_model(self.model_confidence_path), np.uint8)

    def _of_model(self, path: Path | None) -> Path:
        if path is None:
            raise DatasetError(
                f'frame {self.stamp_ns} of {self.drive / self.camera} was recorded without a '
                'model; set the recorder parameter model'
            )
        return path

    def proposals(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of its sweep's proposals by name, a row per proposal.

        Proposals outside the image are included.

        Raises:
            DatasetError: if the file cannot be read, or holds no proposals.
        """
        try:
            return read_proposals(self.proposal_path)
        except OSError as err:
            raise DatasetError(f'cannot read {self.proposal_path}: {err.strerror}') from err
        except ValueError as err:
            raise DatasetError(f'{self.proposal_path} holds no proposals: {err}') from err


class Drive:
    """One drive of a dataset.

    Attributes:
        path: its folder.
        info: `drive.json`: cameras, LiDAR, odometry, parameters, software version, source.
    """

    def __init__(self, path: Path | str, described: bytes | None = None) -> None:
        """Read `drive.json`.

        Args:
            path: the drive's folder.
            described: content of `drive.json`, if it has already been read.

        Raises:
            DatasetError: if there is none, or it is not a JSON object with cameras.
        """
        self.path = location(path)
        file = self.path / DRIVE_FILE
        try:
            info = read_json(file) if described is None else parse_json(described)
        except OSError as err:
            raise DatasetError(f'{self.path} is not a drive: {file.name}: {err.strerror}') from err
        except ValueError as err:
            raise DatasetError(f'{file} is not valid JSON: {err}') from err
        if not isinstance(info, dict) or not isinstance(info.get('cameras'), dict):
            raise DatasetError(
                f'{file} is not a JSON object with cameras; a drive of another version, extract '
                'it again'
            )
        for name, entry in info['cameras'].items():
            check_camera_name(name, file)
            if not isinstance(entry, dict):
                raise DatasetError(f'{file}: camera {name} is not a JSON object')
        self.info: dict[str, Any] = info

    @property
    def name(self) -> str:
        """The drive's name, that of its folder."""
        return self.path.name

    @functools.cached_property
    def cameras(self) -> dict[str, list[FrameRecord]]:
        """Each camera's frames by stamp; an incomplete last line, left by a crash, is skipped.

        A camera whose index is missing or damaged is skipped with a warning.

        Raises:
            DatasetError: if that is the case for all of them.
        """
        cameras, damage = {}, []
        paths = [self.path / name / INDEX_FILE for name in self.info['cameras']]
        for path, content in zip(paths, read_many(paths), strict=True):
            try:
                cameras[path.parent.name] = self._camera(path, content)
            except DatasetError as err:
                damage.append(err)
        if damage and not cameras:
            raise damage[0]
        for problem in damage:
            _log.warning('%s; this camera is skipped', problem)
        return cameras

    @property
    def frames(self) -> list[FrameRecord]:
        """All frames, camera by camera, each by stamp.

        Raises:
            DatasetError: as `cameras`.
        """
        return [frame for frames in self.cameras.values() for frame in frames]

    def frames_of(self, camera: str) -> list[FrameRecord]:
        """Return the frames of one camera by stamp, without reading others.

        Raises:
            DatasetError: if its index is missing or damaged.
        """
        path = self.path / camera / INDEX_FILE
        (content,) = read_many([path])
        return self._camera(path, content)

    def _camera(self, path: Path, content: bytes | OSError) -> list[FrameRecord]:
        if isinstance(content, OSError):
            raise DatasetError(f'cannot read {path}: {content.strerror}') from content
        index = parse_index(content, path)
        if index.torn:
            _log.warning('%s: the last line is incomplete, as after a crash; it is ignored', path)
        frames = [self._frame(record, path.parent.name, path) for record in index.records]
        return sorted(frames, key=lambda frame: frame.stamp_ns)

    def _frame(self, record: dict[str, Any], camera: str, index: Path) -> FrameRecord:
        folder = index.parent
        try:
            stamp_ns, sweep_stamp_ns = (int(record[f'{n}stamp_ns']) for n in ('', 'sweep_'))
            image, segment = (folder / record[name] for name in ('image', 'segment'))
        except (KeyError, TypeError, ValueError) as err:
            raise DatasetError(f'{index}: a line lacks {err}; it has another format') from err
        return FrameRecord(
            self.path,
            camera,
            stamp_ns,
            sweep_stamp_ns,
            record,
            image,
            segment,
            self.path / proposal_path(sweep_stamp_ns),
            label_folder(self.path, camera) / f'{stamp_ns}.png',
            *(folder / record[name] if name in record else None for name in MODEL_FOLDERS),
        )


class Dataset:
    """One or several folders of drives.

    Attributes:
        paths: the folders.
        drives: in order of name, folder by folder.
    """

    def __init__(self, *paths: Path | str) -> None:
        """Find the drives.

        Raises:
            DatasetError: if a folder is missing, is a drive itself, holds none, or is given twice.
        """
        self.paths = [location(path) for path in paths]
        if len({path.resolve() for path in self.paths}) < len(self.paths):
            raise DatasetError(f'{_last_twice(self.paths)} is given twice; give each dataset once')
        self.drives = [drive for path in self.paths for drive in _drives(path)]

    def __str__(self) -> str:
        return ', '.join(map(str, self.paths))


def _last_twice(paths: list[Path]) -> Path:
    resolved = [path.resolve() for path in paths]
    return next(p for k, p in enumerate(paths) if p.resolve() in resolved[:k])


def _drives(dataset: Path) -> list[Drive]:
    drives = _drives_of_storage(dataset) if is_remote(dataset) else _drives_of_folder(dataset)
    if not drives:
        advice = 'give a folder of drives, as written by `drive-segment extract BAG -o DATASET`'
        raise DatasetError(not_wanted(dataset, 'a dataset', advice))
    return drives


def _drives_of_folder(dataset: Path) -> list[Drive]:
    if (dataset / DRIVE_FILE).exists():
        raise _one_drive(dataset)
    return [Drive(folder) for folder in sorted(f.parent for f in dataset.glob(f'*/{DRIVE_FILE}'))]


def _drives_of_storage(dataset: Path) -> list[Drive]:
    """Find the drives by one listing, and a request for each possible description."""
    try:
        folders = [dataset, *(dataset / name for name in folder_names(dataset))]
    except FileNotFoundError as err:
        if err.strerror != os.strerror(errno.ENOENT):
            raise DatasetError(f'cannot read {dataset}: {err.strerror}') from err
        return []
    except OSError as err:
        raise DatasetError(f'cannot read {dataset}: {err.strerror}') from err
    drives = []
    for folder, content in zip(folders, _described(folders), strict=True):
        if content is not None and folder is dataset:
            raise _one_drive(dataset)
        drives += [] if content is None else [Drive(folder, content)]
    return drives


def _described(folders: Sequence[Path]) -> Iterator[bytes | None]:
    """Yield the content of `drive.json` of each folder, None without one."""
    for folder, content in zip(
        folders, read_many([folder / DRIVE_FILE for folder in folders]), strict=True
    ):
        if isinstance(content, OSError) and not isinstance(content, FileNotFoundError):
            raise DatasetError(f'cannot read {folder / DRIVE_FILE}: {content.strerror}')
        yield None if isinstance(content, OSError) else content


def _one_drive(dataset: Path) -> DatasetError:
    return DatasetError(f'{dataset} is a single drive; give its parent folder')


def _read_image(path: Path, *, unchanged: bool = False) -> NDArray[Any]:
    try:
        return read_image_file(read_whole(path), unchanged=unchanged)
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    except ImageError as err:
        raise DatasetError(f'{path} {err}') from err


def _read_labels(path: Path, dtype: type) -> NDArray[Any]:
    image = _read_image(path, unchanged=True)
    if image.dtype != dtype or image.ndim != 2:
        raise DatasetError(
            f'{path} has {image.dtype} of shape {image.shape}, not one {np.dtype(dtype)} channel'
        )
    return image
