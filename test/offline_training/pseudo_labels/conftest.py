"""Makes `boxes.py` and `tables.py` beside this file importable, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
