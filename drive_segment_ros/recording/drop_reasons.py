"""What a frame that was not recorded is counted under."""

from __future__ import annotations

import errno

from drive_segment_ros.errors import DatasetError, DiskFullError

# By what the disk said.
_REASONS = {
    errno.ENOSPC: 'disk_full',
    errno.EDQUOT: 'disk_quota',
    errno.EROFS: 'disk_read_only',
    errno.ENODEV: 'disk_gone',
    errno.ENOENT: 'disk_gone',
}
# Of the others only a frame that has been written tells that they are over.
MAY_BE_TRIED = {'disk_full', 'disk_quota', 'disk_read_only', 'disk_gone'}


class DuplicateFrameError(DatasetError):
    """The camera has a frame of this stamp in the drive already."""


def drop_reason(error: Exception) -> str:
    """Return what a frame lost to an error is counted under."""
    if isinstance(error, DiskFullError):
        return 'disk_full'
    if isinstance(error, DuplicateFrameError):
        return 'duplicate'
    cause = error.__cause__
    return _REASONS.get(cause.errno or 0, 'disk_error') if isinstance(cause, OSError) else 'error'
