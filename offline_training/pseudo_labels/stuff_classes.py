"""Stuff classes: road, raised ground and sky, whose proposals need no clustering.

k-means would split them by their visible size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS

NO_STUFF = -1
ROAD, RAISED, SKY = range(3)


def stuff_classes(proposals: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return each proposal's class, (P,): `ROAD`, `RAISED`, `SKY`, or `NO_STUFF` for objects.

    In old frames raised ground is not marked: it is all ground but the first, as ground is
    numbered from the level of the road upwards.
    """
    found = np.full(len(proposals['id']), NO_STUFF, np.int64)
    found[proposals['kind'] == KINDS.index('sky')] = SKY
    ground = np.flatnonzero(proposals['kind'] == KINDS.index('ground'))
    if 'raised' in proposals:
        found[ground] = np.where(proposals['raised'][ground], RAISED, ROAD)
        return found
    found[ground] = RAISED
    found[ground[np.argsort(proposals['id'][ground])[:1]]] = ROAD
    return found
