"""Whether the kernels that frames need are compiled for this processor, and how long that takes.

Numba compiles a kernel when it is first called, for the processor it runs on. A record beside the
compiled kernels says that all were; it is of one version of Numba, one processor and one state of
the sources.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from drive_segment_ros.perception.union_find import find_root
from drive_segment_ros.whole_files import write_whole

# What is compiled: all that frames take, or what of it a view takes, such as the painted cloud.
FRAMES, VIEW = 'frames', 'view'
# How long that takes, in times of what the probe takes.
_PROBES = {FRAMES: 150.0, VIEW: 30.0}


def kernel_folder() -> Path:
    """Return where Numba keeps the kernels of `perception`."""
    return Path(str(find_root.stats.cache_path))


def are_compiled(kernels: str) -> bool:
    """Whether `FRAMES` or `VIEW` were compiled here before, so that a node starts in seconds."""
    return any(_record(name).is_file() for name in {kernels, FRAMES})


def note_compiled(kernels: str) -> None:
    """Record that they are; a folder that cannot be written costs a wrong notice."""
    if not are_compiled(kernels):
        with contextlib.suppress(OSError):
            write_whole(_record(kernels), json.dumps(_described()).encode())


def cold_notice(kernels: str) -> str:
    """Say that kernels are to be compiled, how long that takes, and why; empty if they are."""
    if are_compiled(kernels):
        return ''
    probe_s = _probe_s()
    return (
        f'kernels are not compiled for this processor yet ({kernel_folder()} has no record of '
        f'it): that takes about {_PROBES[kernels] * probe_s:.0f} s, once, as a small one took '
        f'{probe_s:.2f} s; Ctrl-C may end it, what is compiled is kept; '
        '`drive-segment warm-up` does it ahead'
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
    """Return how long a small kernel takes to compile here, once the compiler is loaded."""
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
