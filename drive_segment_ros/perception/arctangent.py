"""An arctangent without branches, so that the compiler vectorises loops over it."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline='always')
def octant_angle(tangent: np.float32) -> np.float32:
    """Return atan(tangent), rad, of a float32 from 0 to 1, to 1e-5 rad.

    Polynomial of Abramowitz & Stegun, 4.4.49; a library atan2 takes 3 times longer.
    """
    s = tangent * tangent
    return tangent * (
        np.float32(0.9998660)
        + s
        * (
            np.float32(-0.3302995)
            + s
            * (np.float32(0.1801410) + s * (np.float32(-0.0851330) + s * np.float32(0.0208351)))
        )
    )
