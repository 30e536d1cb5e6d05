"""The reasons for which images and sweeps are dropped, each declared once."""

from __future__ import annotations

from drive_segment_ros.errors import (
    CalibrationError,
    CloudError,
    DriveSegmentError,
    ImageError,
    MotionError,
    VideoError,
)

# Of images, until their frame is built.
IMAGE_REASONS: dict[str, str] = {
    'zero_stamp': 'it has no time stamp; the driver must set header.stamp',
    'duplicate': 'its camera sent the same stamp before',
    'no_sweep': 'no sweep is within max_offset_s of it',
    'sweep_taken': 'the nearest sweep is paired with a nearer image',
    'queue_full': 'too many images waited for a sweep',
    'bad_image': 'it cannot be read',
    'incomplete_video': 'packets of its video since the last key frame are missing',
    'bad_cloud': 'its sweep cannot be read, or has no point in the image',
    'bad_calibration': 'intrinsics or extrinsics are missing or are invalid',
    'no_motion': 'the odometry is invalid',
    'worker_busy': 'frames are built more slowly than images arrive',
    'stopped': 'it waited when the node was deactivated',
    'error': 'an unexpected error, see the log',
}
# Of sweeps.
SWEEP_REASONS: dict[str, str] = {
    'zero_stamp': IMAGE_REASONS['zero_stamp'],
    'duplicate': 'the LiDAR sent the same stamp before',
    'unused': 'no image is within max_offset_s of it',
}
_REASON_OF: dict[type[DriveSegmentError], str] = {
    VideoError: 'incomplete_video',  # a subclass of the next, so before it
    ImageError: 'bad_image',
    CloudError: 'bad_cloud',
    CalibrationError: 'bad_calibration',
    MotionError: 'no_motion',
}


def reason_of(error: Exception) -> str:
    """Return what an image lost to an error is counted under."""
    return next((name for kind, name in _REASON_OF.items() if isinstance(error, kind)), 'error')
