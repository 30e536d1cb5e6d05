"""Time to write and read a dataset's frames, compared with plain file writes of the same bytes.

The plain writer opens, writes, closes, and appends one line, without temporary files, syncs or a
lock, so that a crash leaves broken frames. The ratio is the cost of avoiding that.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from frames import DRIVE, made_up_frames

from drive_segment_ros.dataset.frame import EncodedFrame
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter

WIDTH, HEIGHT = 960, 540


def run(quick: bool = False) -> dict[str, Any]:
    """Write and read a drive; `median_s` and `p95_s` are seconds per frame."""
    frames = list(made_up_frames(20 if quick else 300, WIDTH, HEIGHT))
    # In the working directory, because the system's temporary folder may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_io_') as name:
        folder = Path(name)
        with DriveWriter(folder / 'drive', DRIVE) as writer:
            atomic = _times(writer.add, frames)
        plain = _times(_PlainWriter(folder / 'plain').add, frames)
        records = Drive(folder / 'drive').frames
        read = _times(
            lambda record: (record.image(), record.segment(), record.proposals()), records
        )
    size = sum(len(data) for data in frames[0].files.values())
    return {
        'results': [
            _result('io.write', atomic, False, float(np.median(atomic) / np.median(plain))),
            _result('io.plain_write', plain, True, 1.0),
            _result('io.read', read, False, None),
        ],
        'bytes_per_frame': size,
    }


class _PlainWriter:
    """Writes frames without protection against crashes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, frame: EncodedFrame) -> None:
        for name, data in frame.files.items():
            path = self._path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        with (self._path / 'frames.jsonl').open('a', encoding='utf-8') as file:
            file.write(json.dumps(frame.record) + '\n')


def _times(function: Callable[[Any], object], items: Sequence[Any]) -> list[float]:
    """Return the time of each call, seconds."""
    times = []
    for item in items:
        began = time.perf_counter()
        function(item)
        times.append(time.perf_counter() - began)
    return times


def _result(name: str, times: list[float], peer: bool, ratio: float | None) -> dict[str, Any]:
    return {
        'name': name,
        'median_s': float(np.median(times)),
        'p95_s': float(np.quantile(times, 0.95)),
        'runs': len(times),
        'peer': peer,
        'ratio': ratio,
        'frames_per_second': len(times) / sum(times),
    }
