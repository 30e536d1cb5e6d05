"""Imports for the workers of `extract`, which are forked from a process that imports this.

It also loads the compiled kernels of frames, unless they have not been compiled yet.
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
    # OpenCV must not start threads before the fork, which does not copy them.
    prepare_process()
    warm_up(FrameParameters())
