"""Writes the ground truth of a simulated bag to a folder beside it.

    <bag>_truth/truth.json                     parameters, calibration (true and published), instances
    <bag>_truth/messages.jsonl                 one line per image or sweep: its stamp, true stamp, arrival, whether it was lost
    <bag>_truth/<camera>/semantic/<stamp>.png  uint8 class; classes.json beside them
    <bag>_truth/<camera>/instance/<stamp>.png  uint16, 0 = sky
    <bag>_truth/<camera>/distance/<stamp>.png  uint16, 1/256 m along the pixel's ray, 0 = sky or farther than 255 m
    <bag>_truth/<camera>/preview/<stamp>.png   on request, for viewing: image, classes, top view of the sweep
    <bag>_truth/point_labels/<stamp>.npz       semantic and instance of each point, in the order of the cloud

`<stamp>` is the header stamp of the message in the bag (faults included), nanoseconds.
"""  # noqa: E501

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.simulator.cameras import Shot
from offline_training.simulator.lidars import Sweep
from offline_training.simulator.materials import CLASSES

DISTANCE_SCALE = 256.0
_LIMIT_M = 65535 / DISTANCE_SCALE
_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):  # by default, OpenCV >= 4.12 tries all filters
    _QUICK += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


@dataclasses.dataclass(frozen=True)
class TruthFiles:
    """Writes the truth of single images and sweeps; several processes may do so at a time.

    Attributes:
        path: folder of the truth, which `TruthWriter` has created.
    """

    path: Path

    def add_shot(self, camera: str, stamp_ns: int, shot: Shot) -> None:
        """Write classes, instances and distances of an image's pixels."""
        folder, name = self.path / camera, f'{stamp_ns}.png'
        distance = np.empty(shot.distance.shape, np.uint16)
        _quantise(shot.distance, distance)
        for kind, values in (
            ('semantic', shot.semantic),
            ('instance', shot.instance),
            ('distance', distance),
        ):
            encoded = cv2.imencode('.png', values, _QUICK)[1]
            (folder / kind / name).write_bytes(encoded.tobytes())

    def add_sweep(self, stamp_ns: int, sweep: Sweep) -> None:
        """Write classes and instances of a sweep's points."""
        path = self.path / 'point_labels' / f'{stamp_ns}.npz'
        np.savez(path, semantic=sweep.semantic, instance=sweep.instance)

    def add_preview(self, camera: str, stamp_ns: int, picture: NDArray[np.uint8]) -> None:
        """Write a preview picture, (H, W, 3) BGR."""
        folder = self.path / camera / 'preview'
        folder.mkdir(exist_ok=True)
        (folder / f'{stamp_ns}.png').write_bytes(cv2.imencode('.png', picture)[1].tobytes())


class TruthWriter:
    """Writes the truth of one drive into a new folder; a context manager.

    Attributes:
        files: writes the truth of single images and sweeps.
    """

    def __init__(self, path: Path, cameras: Sequence[str]) -> None:
        self.files = TruthFiles(path)
        path.mkdir(parents=True)
        (path / 'point_labels').mkdir()
        classes = json.dumps({'ignore': IGNORE_LABEL, 'classes': CLASSES}, indent=1) + '\n'
        for camera in cameras:
            for kind in ('semantic', 'instance', 'distance'):
                (path / camera / kind).mkdir(parents=True)
            (path / camera / 'semantic' / 'classes.json').write_text(classes)
        (path / 'point_labels' / 'classes.json').write_text(classes)
        self._messages = (path / 'messages.jsonl').open('w')

    def __enter__(self) -> TruthWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._messages.close()

    def add_message(self, **fate: Any) -> None:
        """Append a line to messages.jsonl."""
        self._messages.write(json.dumps(fate) + '\n')

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write truth.json."""
        (self.files.path / 'truth.json').write_text(json.dumps(summary, indent=1) + '\n')


@njit(cache=True, nogil=True)
def _quantise(distance, out):
    """Convert (H, W) metres to units of 1 / `DISTANCE_SCALE`, 0 where out of range, in `out`."""
    for row in range(len(distance)):
        for column in range(distance.shape[1]):
            d = distance[row, column]
            near = d if d < _LIMIT_M else np.float32(0)
            out[row, column] = np.uint16(np.round(near * np.float32(DISTANCE_SCALE)))
