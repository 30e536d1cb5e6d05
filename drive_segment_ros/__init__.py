"""The part of Drive&Segment that runs on the vehicle: proposals, recording and segmentation.

Imports neither torch nor `offline_training`; the algorithms in `perception` import no ROS either.
"""

from drive_segment_ros.kernel_cache import ensure_kernel_cache

__version__ = '0.1.0'

ensure_kernel_cache()
