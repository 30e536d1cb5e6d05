"""The training frames of a run, according to its `run.json`; all others are held out."""

from __future__ import annotations

import dataclasses
from typing import Any

from drive_segment_ros.dataset.reader import Drive, FrameRecord
from drive_segment_ros.errors import ParameterError
from offline_training.common.frame_selection import parse_slice
from offline_training.report.sources import HELD_OUT, LEARNED_FROM, Sources


@dataclasses.dataclass(frozen=True)
class ShownFrame:
    """A frame that may be shown.

    Attributes:
        drive, record: the frame.
        role: `LEARNED_FROM` or `HELD_OUT`.
        source: number of its source in `Sources.drives`.
    """

    drive: Drive
    record: FrameRecord
    role: str
    source: int


def frames_by_role(sources: Sources, run: dict[str, Any]) -> list[ShownFrame]:
    """Return all frames of all drives, held-out ones first.

    Args:
        sources: with the drives; a drive used for training may have held-out frames.
        run: the run's `run.json`, empty if there is none; it names the set of pseudo-labels.
    """
    parameters = run.get('parameters') or {}
    cameras, labels = parameters.get('cameras'), str(run.get('labels') or '')
    cameras = cameras if isinstance(cameras, list) else []
    try:
        chosen = parse_slice(str(parameters.get('frames') or ''))
    except ParameterError:
        chosen = slice(None)
    found = []
    for number, source in enumerate(sources.drives):
        for drive in source.drives:
            for camera, records in drive.cameras.items():
                taken = source.role == LEARNED_FROM and (not cameras or camera in cameras)
                learned = set(range(len(records))[chosen]) if taken else set()
                found += [
                    ShownFrame(
                        drive,
                        record.with_labels(labels),
                        LEARNED_FROM if index in learned else HELD_OUT,
                        number,
                    )
                    for index, record in enumerate(records)
                ]
    return sorted(found, key=lambda frame: frame.role != HELD_OUT)
