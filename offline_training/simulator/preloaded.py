"""Modules for workers to import before their first part: Open3D, and Numba, initialised.

The call below initialises Numba, which takes a third of a second at its first kernel.
"""

from __future__ import annotations

import numpy as np

from offline_training.simulator import frames, ray_casting
from offline_training.simulator.between_rays import UNKNOWN, waiting

__all__ = ['frames', 'ray_casting']

waiting(np.full(1, UNKNOWN), 1, 1, 1)
