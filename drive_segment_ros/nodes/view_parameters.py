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
        'time, by the stamps, within which messages of one sensor may arrive out of order; 0 for '
        'low latency, at which the rare late message is lost. The recorder and `extract` wait '
        'longer',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class ViewPipelineParameters(PipelineParameters):
    """As pairs wait for the recorder, but the newest counts: a view must never lag."""

    queue: int = parameter(
        1,
        'pairs of each camera that may wait for processing; the oldest is dropped; dropped pairs '
        'are counted',
        minimum=1,
        maximum=1000,
    )
