"""Writes a part of a drive: the files of its frames, then the manifest; see `parts`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import EncodedFrame, proposal_path
from drive_segment_ros.dataset.own_files import FIXED, check_camera_name
from drive_segment_ros.dataset.parts import (
    Part,
    another_sweep,
    cannot_write,
    json_text,
    manifest,
    other_than_before,
    read_drive,
    read_indexes,
    write_text,
)
from drive_segment_ros.dataset.proposal_file import sweep_digest
from drive_segment_ros.storage import sync_files, write_files


class PartWriter:
    """Writes the frames of a part, and then its manifest.

    Attributes:
        stamps: of the existing frames, before and in this part, by camera.
    """

    def __init__(self, drive: Path, start_ns: int) -> None:
        """Read the existing content; nothing is written yet.

        Args:
            drive: the drive's folder.
            start_ns: of the part.

        Raises:
            DatasetError: if the existing content cannot be read.
        """
        self._drive = drive
        self._there = read_drive(drive)
        self._part = Part(start_ns, {}, {}, {}, {}, {})
        self._written: list[Path] = []
        self.stamps: dict[str, set[int]] = {
            name: {record['stamp_ns'] for record in records}
            for name, records in read_indexes(drive, self._there).items()
        }

    def describe(self, drive: Callable[[], Mapping[str, Any]]) -> None:
        """Set the drive's entries for `drive.json`; only the first call has an effect.

        Raises:
            DatasetError: if the drive exists with other sensors or parameters.
        """
        info: dict[str, Any] = self._part.drive  # type: ignore[assignment]
        if info:
            return
        info.update(json.loads(json_text(drive())))
        changed = [name for name in FIXED if self._there and self._there.get(name) != info[name]]
        if changed:
            raise other_than_before(self._drive, changed)

    def add_camera(self, name: str, entry: Callable[[], Mapping[str, Any]]) -> None:
        """Set a camera's entries for `drive.json`; only the first call has an effect.

        Raises:
            DatasetError: if the drive has another camera of this name, or the name is invalid.
        """
        cameras: dict[str, Any] = self._part.cameras  # type: ignore[assignment]
        if name in cameras:
            return
        check_camera_name(name, self._drive)
        cameras[name] = json.loads(json_text(entry()))
        if self._there and self._there['cameras'].get(name, cameras[name]) != cameras[name]:
            raise other_than_before(self._drive, [f'camera {name}'])

    def add(self, frame: EncodedFrame) -> None:
        """Write a frame's files, with the first frame of a sweep also the proposals.

        Raises:
            DatasetError: if they cannot be written, or another sweep has this stamp.
        """
        proposals = proposal_path(frame.sweep_stamp_ns)
        files = dict(frame.files)
        of_sweep = files.pop(proposals)
        sweeps: dict[str, str] = self._part.sweeps  # type: ignore[assignment]
        digest = sweep_digest(of_sweep)
        known = sweeps.get(str(frame.sweep_stamp_ns))
        if known not in (None, digest):
            raise another_sweep(self._drive, frame.sweep_stamp_ns)
        try:
            if known is None:
                # The previous part may end with the same sweep and be written at the same time.
                files[proposals] = of_sweep
            write_files(self._drive, files)
        except OSError as err:
            raise cannot_write(self._drive, err) from err
        self._written += [self._drive / name for name in files]
        sweeps[str(frame.sweep_stamp_ns)] = digest
        frames: dict[str, list[dict[str, Any]]] = self._part.frames  # type: ignore[assignment]
        frames.setdefault(frame.camera, []).append(dict(frame.record))
        self.stamps.setdefault(frame.camera, set()).add(frame.stamp_ns)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the manifest: from then on the part exists.

        Raises:
            DatasetError: if it cannot be written.
        """
        try:
            sync_files(self._written)
        except OSError as err:
            raise cannot_write(self._drive, err) from err
        part = dataclasses.replace(self._part, summary=summary)
        write_text(manifest(self._drive, part.start_ns), json_text(dataclasses.asdict(part)))
