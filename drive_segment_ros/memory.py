"""Keep freed memory in the process, for work that repeatedly allocates the same arrays."""

from __future__ import annotations

import ctypes

# glibc's mallopt parameters, malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Larger than any array of a sweep or an image.
_LARGEST_ARRAY, _LARGEST_HEAP_TOP = 64 << 20, 512 << 20


def keep_freed_memory() -> bool:
    """Have the allocator reuse large blocks instead of returning them to the system.

    By default glibc returns every block above some 100 kB, and the next frame has to map and clear
    its pages again, which takes a large part of the LiDAR chain's time. To be called once by the
    main programs of nodes and workers; a library must not decide this for its host.

    Returns:
        Whether the setting was accepted; False if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY)
        and mallopt(_M_TRIM_THRESHOLD, _LARGEST_HEAP_TOP)
    )
