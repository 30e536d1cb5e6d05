"""Whether this processor computes in bf16 as fast as it claims."""

from __future__ import annotations

import logging
import time

import torch

# As for OpenVINO: emulated bf16 takes many times as long as fp32, and a busy machine must not
# change the precision from one start to the next.
_TRIAL_RUNS = 3
_SLOWEST = 1.5

log = logging.getLogger(__name__)


def processor_has_fast_bf16() -> bool:
    """Whether matrix products take no longer in bf16; tried where the processor claims so.

    Under a lower instruction set (ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY) they may.
    """
    claimed = torch.cpu.get_capabilities()
    if not (claimed.get('avx512_bf16') or claimed.get('amx_bf16')):
        return False
    full_s, half_s = _seconds(torch.float32), _seconds(torch.bfloat16)
    if half_s > _SLOWEST * full_s:
        slower = f'takes {half_s / full_s:.1f} times as long'
        log.warning('training computes in fp32: bf16, which the processor claims, %s', slower)
        return False
    return True


def _seconds(dtype: torch.dtype) -> float:
    """Return how long a product takes, the best of some; the first warms up."""
    matrix = torch.ones(512, 512, dtype=dtype)
    taken = []
    for _ in range(1 + _TRIAL_RUNS):
        began = time.perf_counter()
        torch.matmul(matrix, matrix)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
