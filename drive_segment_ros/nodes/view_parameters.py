"""When images and sweeps are paired for people to look at."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.parameters import parameter


@dataclasses.dataclass(frozen=True)
class ViewSyncParameters(SyncParameters):
    """As frames are paired, but at once: what comes late is left out, and nothing waits for it."""

    wait_s: float = parameter(
        0.0,
        "how long, in the sensors' own time, messages of one sensor may come out of order; none, "
        'for a view is to be of now, and the rare message that comes late is not missed. What is '
        'recorded waits longer, as `extract` does',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
