"""The drives that benchmarks run on: the real one if available, else a simulated one."""

from __future__ import annotations

import os
from pathlib import Path

from drive_segment_ros.parameters import from_flat


def real_drive() -> Path | None:
    """Return the folder of the real drive, or None if there is none.

    It is named by DRIVE_SEGMENT_DATA, else searched beside the repository.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'pandaset_002_front'
    folder = Path(os.environ.get('DRIVE_SEGMENT_DATA', beside))
    return folder if (folder / 'bag').is_dir() else None


def some_bag(folder: Path, duration_s: float) -> tuple[Path, str]:
    """Return the bag of the real drive, or simulate one; and `real` or `simulated`.

    Args:
        folder: existing folder for a simulated bag.
        duration_s: duration of a simulated bag.
    """
    real = real_drive()
    if real is not None:
        return real / 'bag', 'real'
    from offline_training.simulator import SimulatorParameters, simulate

    bag = folder / 'bag'
    simulate(bag, from_flat(SimulatorParameters, {'duration_s': duration_s}))
    return bag, 'simulated'
