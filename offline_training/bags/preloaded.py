"""What workers of `extract` have loaded before their first part, kernels included.

They are forked from a process that imported this. Kernels that are yet to be compiled are left
to those who need them.
"""

from __future__ import annotations

from drive_segment_ros.compiled_kernels import FRAMES, are_compiled
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.warm_up import warm_up
from drive_segment_ros.ros.bag_storage import default_type_store
from offline_training.bags import drive_plan, extract_part
from offline_training.common.workers import prepare_process

__all__ = ['drive_plan', 'extract_part']

default_type_store()
if are_compiled(FRAMES):
    # OpenCV's threads would be missing after the fork.
    prepare_process()
    warm_up(FrameParameters())
