"""When images and sweeps are paired for people to look at."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.nodes.frame_pipeline import PipelineParameters
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


@dataclasses.dataclass(frozen=True)
class ViewPipelineParameters(PipelineParameters):
    """As pairs wait for the recorder, but the newest counts: a view must never lag."""

    queue: int = parameter(
        1,
        'pairs of each camera that may wait to be worked on, the oldest is dropped; a view that '
        'falls behind leaves some out and counts them',
        minimum=1,
        maximum=1000,
    )
