"""The drives that benchmarks run on: the real one where it is available, else a simulated one."""

from __future__ import annotations

import os
from pathlib import Path

from drive_segment_ros.parameters import from_flat


def real_drive() -> Path | None:
    """Return the real drive's folder: DRIVE_SEGMENT_DATA, or beside the repository; or None."""
    beside = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'pandaset_002_front'
    folder = Path(os.environ.get('DRIVE_SEGMENT_DATA', beside))
    return folder if (folder / 'bag').is_dir() else None


def some_bag(folder: Path, duration_s: float) -> tuple[Path, str]:
    """Return a bag and where it is from, `real` or `simulated`.

    Args:
        folder: for a simulated bag.
        duration_s: its length.
    """
    real = real_drive()
    if real is not None:
        return real / 'bag', 'real'
    from offline_training.simulator import SimulatorParameters, simulate

    bag = folder / 'bag'
    simulate(bag, from_flat(SimulatorParameters, {'duration_s': duration_s}))
    return bag, 'simulated'
