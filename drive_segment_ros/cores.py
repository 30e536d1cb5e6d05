"""The number of processor cores that this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _OWN = Path('/sys/fs/cgroup'), Path('/proc/self/cgroup')


def usable_cores(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """Return how many cores this process may use: those of its affinity, or of a smaller quota.

    Containers and services are given quotas of processor time by Linux's control groups: with a
    worker for each core of the machine they would only be throttled, and run out of memory.

    Args:
        groups: where control groups are mounted, of version 1 or 2.
        own: the file that names the process's groups.
    """
    cores = len(os.sched_getaffinity(0))
    return max(min([cores, *map(math.ceil, _quotas(groups, own))]), 1)


def cores_of_quota() -> int:
    """Return how many cores a quota leaves of the affinity's; 0 without, as libraries know those.

    More threads than that would be stopped together until the next period.
    """
    cores = usable_cores()
    return 0 if cores == len(os.sched_getaffinity(0)) else cores


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Yield the quotas of the process's groups and of those that they are in, in cores."""
    try:
        lines = own.read_text(encoding='utf-8').splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if controllers and 'cpu' not in controllers.split(','):
            continue
        top = groups / controllers
        # Within a container the path may be the host's, while its group is mounted at the top.
        for group in {top, *(top / part for part in _and_parents(path))}:
            with contextlib.suppress(OSError, ValueError):  # missing, or `max`: no quota
                if controllers:
                    quota = int((group / 'cpu.cfs_quota_us').read_text(encoding='ascii'))
                    period = int((group / 'cpu.cfs_period_us').read_text(encoding='ascii'))
                else:
                    quota, period = map(int, (group / 'cpu.max').read_text('ascii').split())
                if quota > 0 and period > 0:
                    yield quota / period


def _and_parents(path: str) -> list[Path]:
    whole = Path(path.lstrip('/'))
    return [whole, *whole.parents]
