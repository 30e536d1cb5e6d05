"""`drive-segment extract`, frames a second, everything included: processes, reading, writing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from drives import some_bag

from drive_segment_ros.frame.parameters import FrameParameters
from offline_training.bags.extract import ExtractOptions, extract


def run(quick: bool = False) -> dict[str, Any]:
    """Extract a drive a few times; `median_s` and `p95_s` are seconds a frame."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, source = some_bag(folder, duration_s=1.0 if quick else 5.0)
        reports = [
            extract([bag], folder / f'dataset{k}', FrameParameters(), ExtractOptions())
            for k in range(1 if quick else 3)
        ]
    seconds = np.array([1.0 / report.frames_per_second for report in reports])
    return {
        'results': [
            {
                'name': 'extract.frame',
                'median_s': float(np.median(seconds)),
                'p95_s': float(seconds.max()),
                'runs': len(reports),
                'peer': False,
                'ratio': None,
                'frames': reports[0].frames,
                'images': reports[0].images,
                'frames_per_second': float(1.0 / np.median(seconds)),
            }
        ],
        'bag': source,
    }
