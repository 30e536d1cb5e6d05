"""Makes modules importable: those beside this file, and the importers' synthetic data sets."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / 'offline_training/bags/published'),
]
