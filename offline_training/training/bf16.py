"""Whether this processor is faster in bf16 than in fp32."""

from __future__ import annotations

import logging
import os
import time

import torch

# oneDNN's instruction sets with bf16 have one of these in their names.
_HAVE_BF16 = ('DEFAULT', 'ALL', 'BF16', 'FP16', 'AMX', 'AVX10')
_LIMITS = ('ONEDNN_MAX_CPU_ISA', 'DNNL_MAX_CPU_ISA')
# In hardware bf16 takes half the time of fp32, emulated without AVX-512 5 to 100 times as long:
# far from both, so that a busy machine does not change the precision from one start to the next.
_TRIAL_RUNS = 3
_SLOWEST = 4.0

log = logging.getLogger(__name__)


def processor_has_fast_bf16() -> bool:
    """Return whether to compute matrix products in bf16; measured if the processor reports it.

    Not where ONEDNN_MAX_CPU_ISA allows a lower instruction set only. Emulated by AVX-512 they take
    about as long as in fp32: a trial would decide by chance, and two trainings would differ.
    """
    claimed = torch.cpu.get_capabilities()
    if not (claimed.get('avx512_bf16') or claimed.get('amx_bf16')):
        return False
    limit = next((name for name in _LIMITS if os.environ.get(name)), '')
    if limit and not any(part in os.environ[limit].upper() for part in _HAVE_BF16):
        log.warning('training computes in fp32: %s=%s has no bf16', limit, os.environ[limit])
        return False
    full_s, half_s = _seconds(torch.float32), _seconds(torch.bfloat16)
    if half_s > _SLOWEST * full_s:
        slower = f'takes {half_s / full_s:.1f} times as long'
        log.warning('training computes in fp32: bf16, which the processor reports, %s', slower)
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
