"""Whether the kernels that frames need are compiled for this processor, and how long that takes.

Numba compiles a kernel on its first call, for the processor it runs on. A record file beside the
compiled kernels says that all are compiled; it is valid for one version of Numba, one processor
and one state of the sources.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from drive_segment_ros.perception.union_find import find_root
from drive_segment_ros.whole_files import write_whole

# Sets of kernels: all that frames need, or those that a view needs, such as the painted cloud.
FRAMES, VIEW = 'frames', 'view'
# How long that takes, in times of what the probe takes; 25 s, 2.9 s and 0.059 s of a Zen 5 core.
_PROBES = {FRAMES: 420.0, VIEW: 50.0}


def kernel_folder() -> Path:
    """Return the folder in which Numba caches the kernels of `perception`."""
    return Path(str(find_root.stats.cache_path))


def are_compiled(kernels: str) -> bool:
    """Return whether `FRAMES` or `VIEW` are compiled, so that a node starts in seconds."""
    return any(_record(name).is_file() for name in {kernels, FRAMES})


def note_compiled(kernels: str) -> None:
    """Record that they are compiled; without write access only the notice will be wrong."""
    if not are_compiled(kernels):
        with contextlib.suppress(OSError):
            write_whole(_record(kernels), json.dumps(_described()).encode())


def cold_notice(kernels: str) -> str:
    """Return a notice that kernels have to be compiled, and how long it takes; else empty."""
    if are_compiled(kernels):
        return ''
    probe_s = _probe_s()
    return (
        f'kernels are not compiled for this processor yet (no record in {kernel_folder()}): '
        f'compiling them once takes about {_PROBES[kernels] * probe_s:.0f} s; after Ctrl-C, '
        'compiled kernels are kept; `drive-segment warm-up` compiles them in advance'
    )


def _described() -> dict[str, str]:
    import llvmlite.binding
    import numba

    sources = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob('perception/*.py')):
        sources.update(file.read_bytes())
    return {
        'numba': numba.__version__,
        'processor': llvmlite.binding.get_host_cpu_name(),
        'features': llvmlite.binding.get_host_cpu_features().flatten(),
        'sources': sources.hexdigest(),
    }


def _record(kernels: str) -> Path:
    digest = hashlib.sha256(json.dumps(_described()).encode()).hexdigest()
    return kernel_folder() / f'compiled-{kernels}-{digest[:16]}.json'


def _probe_s() -> float:
    """Return the compile time of a small kernel, s, without loading the compiler."""
    import numba

    numba.njit(lambda value: value + 1)(1)
    began = time.perf_counter()
    numba.njit(_probe)(10)
    return time.perf_counter() - began


def _probe(count: int) -> float:
    total = 0.0
    for first in range(count):
        for second in range(first):
            total += (first * second) ** 0.5
    return total
