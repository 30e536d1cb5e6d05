"""Keep freed memory in the process, for work that needs the same arrays again and again."""

from __future__ import annotations

import ctypes

# glibc's mallopt parameters, malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# No array of a sweep or an image is larger; and no process frees more than this at a time.
_LARGEST_ARRAY, _LARGEST_HEAP_TOP = 64 << 20, 512 << 20


def keep_freed_memory() -> bool:
    """Have the allocator reuse large blocks instead of returning them to the system.

    By default glibc hands every block of some 100 kB back, and the next frame pays for having its
    pages mapped and cleared anew: a third of the LiDAR chain's time. For the main programs of
    nodes and workers to call once at their start; a library must not decide this for its host.

    Returns:
        Whether the allocator took it; False where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY)
        and mallopt(_M_TRIM_THRESHOLD, _LARGEST_HEAP_TOP)
    )
