"""Advice for failed writes, by the error of the disk."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.ENOSPC: 'free some space or choose another folder',
    errno.EDQUOT: 'your quota on that disk is used up: remove files, have it raised, or '
    'choose another folder',
    errno.EROFS: 'its file system is read-only, perhaps after an error: check it and mount it for '
    'writing, or choose another folder',
    errno.EIO: 'the disk fails: check its cable and health, or choose another folder',
    errno.ENOENT: 'check whether the folder was removed or its disk unmounted',
}


def disk_advice(err: OSError) -> str:
    """Return the advice for a file that could not be written, to follow the error itself."""
    return _ADVICE.get(err.errno or 0, 'make the folder writable or choose another one')
