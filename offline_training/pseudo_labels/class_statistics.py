"""What there is of each pseudo-class, in numbers a person can name it by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS
from offline_training.pseudo_labels.segment_table import SegmentTable


def class_statistics(
    table: SegmentTable, assigned: NDArray[np.intp], classes: int
) -> list[dict[str, Any]]:
    """Describe each class in numbers: how much of it there is, its kinds, heights and sizes."""
    statistics = []
    for number in range(classes):
        rows = assigned == number
        entry: dict[str, Any] = {
            'class': number,
            'segments': int(rows.sum()),
            'objects': len(np.unique(table.track[rows])),
            'pixels': int(table.pixels[rows].sum()),
            'kinds': {
                kind: int((table.kind[rows] == index).sum()) for index, kind in enumerate(KINDS)
            },
        }
        for name, column in table.described.items():
            known = column[rows][np.isfinite(column[rows])]
            if len(known):
                entry[f'{name}_m'] = round(float(np.median(known)), 2)
        statistics.append(entry)
    return statistics
