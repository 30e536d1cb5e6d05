import types

import pytest
import torch

from offline_training.training import bf16
from offline_training.training.training import TrainingParameters, use_bf16


@pytest.mark.parametrize(
    ('claimed', 'half_s', 'fast'),
    [
        ({}, 0.6, False),
        ({'avx512_bf16': True}, 0.6, True),
        ({'amx_bf16': True}, 0.6, True),
        ({'avx512_bf16': True}, 60.0, False),
    ],
)
def test_bf16_is_taken_where_it_is_claimed_and_fast(monkeypatch, caplog, claimed, half_s, fast):
    now = 0.0

    def multiply(left, _):
        nonlocal now
        now += half_s if left.dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: claimed)
    monkeypatch.setattr(torch, 'matmul', multiply)
    monkeypatch.setattr(bf16, 'time', types.SimpleNamespace(perf_counter=lambda: now))

    for name in ('ONEDNN_MAX_CPU_ISA', 'DNNL_MAX_CPU_ISA'):
        monkeypatch.delenv(name, raising=False)

    assert use_bf16(TrainingParameters(), torch.device('cpu')) is fast
    assert ('takes 60.0 times as long' in caplog.text) is (bool(claimed) and not fast)


@pytest.mark.parametrize(
    ('limit', 'fast'),
    [
        ('avx512_core', False),
        ('AVX2', False),
        ('AVX512_CORE_BF16', True),
        ('AVX512_CORE_AMX', True),
        ('', True),
    ],
)
def test_a_limit_of_instructions_decides_whatever_a_trial_takes(monkeypatch, caplog, limit, fast):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', limit)
    monkeypatch.delenv('DNNL_MAX_CPU_ISA', raising=False)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {'avx512_bf16': True})
    monkeypatch.setattr(bf16, '_seconds', lambda _: 1.0)

    assert use_bf16(TrainingParameters(), torch.device('cpu')) is fast
    assert (f'ONEDNN_MAX_CPU_ISA={limit} has no bf16' in caplog.text) is not fast
