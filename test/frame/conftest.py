"""Make `small_rig.py` in this folder importable, as test files are imported one by one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).with_name('small_rig.py')
_spec = importlib.util.spec_from_file_location('small_rig', _path)
assert _spec is not None
assert _spec.loader is not None
if 'small_rig' not in sys.modules:
    sys.modules['small_rig'] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules['small_rig'])
