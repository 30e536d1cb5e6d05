"""Advice for failed writes, by the error of the disk."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.ENOSPC: 'free some space or choose another folder',
    errno.EDQUOT: 'your quota on that disk is used up: remove files of yours, have it raised, or '
    'choose another folder',
    errno.EROFS: 'its file system is read-only, as after an error: check it and mount it for '
    'writing, or choose another folder',
    errno.EIO: 'the disk fails: check its cable and health, or choose another folder',
    errno.ENOENT: 'see whether somebody removed the folder or unmounted its disk',
}


def disk_advice(err: OSError) -> str:
    """Return what to do about a file that could not be written, to go after the error itself."""
    return _ADVICE.get(err.errno or 0, 'make the folder writable or choose another one')
