"""The parameters of the segmentation node."""

from __future__ import annotations

import dataclasses

from drive_segment_ros.inference.segmenter import AUTO, BACKENDS
from drive_segment_ros.nodes.lifecycle import exit_on_failure
from drive_segment_ros.nodes.mask_outputs import OverlayParameters
from drive_segment_ros.nodes.painted_cloud import PaintParameters
from drive_segment_ros.parameters import parameter


@dataclasses.dataclass(frozen=True)
class MaskParameters:
    """The parameters of masks and their appearance."""

    model: str = parameter(
        '', 'model written by `drive-segment export`: a folder, a URL, or hf://OWNER/NAME'
    )
    backend: str = parameter(
        AUTO, 'inference backend; auto is the fastest one installed', choices=(AUTO, *BACKENDS)
    )
    threads: int = parameter(
        0,
        'CPU threads of the model; 0 for the default of the backend',
        minimum=0,
        maximum=256,
    )
    confidence_threshold: float = parameter(
        0.0,
        'pixels with lower confidence become unknown (255); 0 keeps all',
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )
    overlay: OverlayParameters = dataclasses.field(default_factory=OverlayParameters)


@dataclasses.dataclass(frozen=True)
class SegmentationParameters(PaintParameters, MaskParameters):
    """All parameters of masks on the vehicle; fields of the last base come first."""

    exit_on_failure: bool = exit_on_failure()
