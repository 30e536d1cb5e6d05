"""Road, raised ground and sky: proposals whose very kind is a class, which need no clustering.

k-means would split them by how much of them is in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.perception.proposals import KINDS

NO_AREA = -1
ROAD, RAISED, SKY = range(3)
# Raised ground is a class of its own if this share of its pixels is raised in the next frame too:
# three simulated drives have 0.83 to 0.93, a real one, whose road was taken for raised now and
# then, 0.6.
_PERSISTENCE = 0.75


def areas(proposals: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return what area each proposal is, (P,): `ROAD`, `RAISED`, `SKY`, or `NO_AREA` for objects.

    A frame's ground proposals are numbered from the level of the road up.
    """
    area = np.full(len(proposals['id']), NO_AREA, np.int64)
    area[proposals['kind'] == KINDS.index('sky')] = SKY
    ground = np.flatnonzero(proposals['kind'] == KINDS.index('ground'))
    area[ground] = RAISED
    area[ground[np.argsort(proposals['id'][ground])[:1]]] = ROAD
    return area


def raised_persists(drives: Iterable[Sequence[FrameRecord]]) -> bool:
    """Return whether raised ground stays raised from frame to frame.

    A fault of the ground's level comes and goes with the traffic; a pavement stays. Compared are
    pixels that are ground in both frames.
    """
    both = either = 0
    for drive in drives:
        before = None
        for frame in drive:
            now = _area_image(frame)
            if before is not None:
                ground = np.isin(now, (ROAD, RAISED)) & np.isin(before, (ROAD, RAISED))
                a, b = now[ground] == RAISED, before[ground] == RAISED
                both += int((a & b).sum())
                either += int((a | b).sum())
            before = now
    return both >= _PERSISTENCE * either


def _area_image(frame: FrameRecord) -> NDArray[np.int8]:
    proposals = frame.proposals()
    area_of_id = np.full(65536, NO_AREA, np.int8)
    area_of_id[proposals['id']] = areas(proposals)
    return area_of_id[frame.segment()]
