"""Parameters of pairing images and sweeps for display."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.nodes.frame_pipeline import PipelineParameters
from drive_segment_ros.parameters import parameter


@dataclasses.dataclass(frozen=True)
class ViewSyncParameters(SyncParameters):
    """Like the pairing of frames, but without waiting: late messages are ignored."""

    wait_s: float = parameter(
        0.0,
        'time, by the stamps, within which messages of one sensor may arrive out of order; 0 for '
        'low latency, at which late messages are lost. The recorder and `extract` wait '
        'longer',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class ViewPipelineParameters(PipelineParameters):
    """Like the recorder's queue, but only the newest pair counts, so that a view never lags."""

    queue: int = parameter(
        1,
        'pairs of each camera that may wait for processing; the oldest is dropped; dropped pairs '
        'are counted',
        minimum=1,
        maximum=1000,
    )
