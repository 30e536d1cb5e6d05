import types

import pytest
import torch

from offline_training.training import bf16
from offline_training.training.training import TrainingParameters, _use_bf16


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

    assert _use_bf16(TrainingParameters(), torch.device('cpu')) is fast
    assert ('takes 60.0 times as long' in caplog.text) is (bool(claimed) and not fast)
