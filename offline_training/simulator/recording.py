"""Writes a drive's bag in parts, each a storage file that is moved to its place when complete.

A bag is a folder of `<name>_0.mcap`, `<name>_1.mcap` and so on, in chronological order, and a
metadata.yaml that is written last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.errors import BagError
from offline_training.common.bag_recording import Recording
from offline_training.common.files import write_atomic

_METADATA_FILE, _INFORMATION = 'metadata.yaml', 'rosbag2_bagfile_information'


class PartRecording:
    """One part of a new ROS 2 bag (MCAP); use as a context manager.

    Attributes:
        make: creates the messages for `add`.
        information: content of metadata.yaml for a bag of this part alone; set on exit.
    """

    def __init__(
        self, bag: Path, number: int, first_ns: int | None = None, stop_ns: int | None = None
    ) -> None:
        """Create a temporary folder in the bag; nothing is written yet.

        Args:
            bag: the existing folder.
            number: of the part.
            first_ns, stop_ns: messages that arrive from `first_ns` to before `stop_ns` are
                recorded, nanoseconds; None for no limit.
        """
        self.information: dict[str, Any] = {}
        self._bag, self._name = bag, f'{bag.name}_{number}'
        self._first_ns, self._stop_ns = first_ns, stop_ns
        # The file contains its own name, so it is written under its final name in a temporary
        # folder.
        self._folder = Path(tempfile.mkdtemp(prefix=f'.{self._name}.', dir=bag))
        self._recording = Recording(self._folder / self._name)
        self.make = self._recording.make

    def __enter__(self) -> PartRecording:
        self._recording.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._recording.__exit__(kind, error, trace)
            if kind is None:
                written = self._folder / self._name
                content = yaml.safe_load((written / _METADATA_FILE).read_text())
                self.information = content[_INFORMATION]
                file = f'{self._name}.mcap'
                os.replace(written / file, self._bag / file)
        except OSError as err:
            raise BagError(
                f'cannot write {self._bag}: {err.strerror}; {disk_advice(err)}'
            ) from err
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, topic: str, message: Any, arrival_ns: int) -> None:
        """Add a message; ignore one that arrives outside the part's time range."""
        early = self._first_ns is not None and arrival_ns < self._first_ns
        late = self._stop_ns is not None and arrival_ns >= self._stop_ns
        if not early and not late:
            self._recording.add(topic, message, arrival_ns)

    def write_until(self, arrival_ns: int) -> None:
        """Write the messages that arrived before a time, nanoseconds."""
        self._recording.write_until(arrival_ns)


def write_metadata(bag: Path, parts: Sequence[Mapping[str, Any]]) -> None:
    """Write the metadata.yaml of a bag from that of its parts.

    Args:
        bag: the folder.
        parts: `information` of each part, in chronological order.

    Raises:
        DatasetError: if it cannot be written.
    """
    filled = [part for part in parts if part['message_count']]
    starts = [part['starting_time']['nanoseconds_since_epoch'] for part in filled]
    ends = [
        start + part['duration']['nanoseconds'] for start, part in zip(starts, filled, strict=True)
    ]
    topics: dict[str, dict[str, Any]] = {}
    for part in parts:
        for entry in part['topics_with_message_count']:
            name = entry['topic_metadata']['name']
            topic = topics.setdefault(name, {**entry, 'message_count': 0})
            topic['message_count'] += entry['message_count']
    information = {
        **parts[0],
        'relative_file_paths': [name for part in parts for name in part['relative_file_paths']],
        'files': [file for part in parts for file in part['files']],
        'starting_time': {'nanoseconds_since_epoch': min(starts)},
        'duration': {'nanoseconds': max(ends) - min(starts)},
        'message_count': sum(part['message_count'] for part in parts),
        'topics_with_message_count': list(topics.values()),
    }
    text = yaml.dump({_INFORMATION: information}, Dumper=_Dumper, default_flow_style=False)
    write_atomic(bag / _METADATA_FILE, text.encode())


class _Dumper(yaml.SafeDumper):
    """Writes YAML without anchors, which ROS's readers do not support."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
