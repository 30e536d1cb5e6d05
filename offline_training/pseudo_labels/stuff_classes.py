"""Road, raised ground and sky: proposals whose very kind is a class, which need no clustering.

k-means would split them by how much of them is in view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS

NO_AREA = -1
ROAD, RAISED, SKY = range(3)


def areas(proposals: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return what area each proposal is, (P,): `ROAD`, `RAISED`, `SKY`, or `NO_AREA` for objects.

    Old frames do not say which ground is raised. Of those it is all but the first: ground is
    numbered from the level of the road up.
    """
    area = np.full(len(proposals['id']), NO_AREA, np.int64)
    area[proposals['kind'] == KINDS.index('sky')] = SKY
    ground = np.flatnonzero(proposals['kind'] == KINDS.index('ground'))
    if 'raised' in proposals:
        area[ground] = np.where(proposals['raised'][ground], RAISED, ROAD)
        return area
    area[ground] = RAISED
    area[ground[np.argsort(proposals['id'][ground])[:1]]] = ROAD
    return area
