"""The reasons under which lost frames are counted."""

from __future__ import annotations

import errno

from drive_segment_ros.errors import DatasetError, DiskFullError

# By the error of the disk.
_REASONS = {
    errno.ENOSPC: 'disk_full',
    errno.EDQUOT: 'disk_quota',
    errno.EROFS: 'disk_read_only',
    errno.ENODEV: 'disk_gone',
    errno.ENOENT: 'disk_gone',
}
# The other problems are only known to be over when a frame has been written.
MAY_BE_TRIED = {'disk_full', 'disk_quota', 'disk_read_only', 'disk_gone'}


class DuplicateFrameError(DatasetError):
    """The camera already has a frame of this stamp in the drive."""


def drop_reason(error: Exception) -> str:
    """Return the reason for a frame lost because of an error."""
    if isinstance(error, DiskFullError):
        return 'disk_full'
    if isinstance(error, DuplicateFrameError):
        return 'duplicate'
    cause = error.__cause__
    return _REASONS.get(cause.errno or 0, 'disk_error') if isinstance(cause, OSError) else 'error'
