"""Make `box_world.py`, `checks.py` and the layouts in this folder importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
