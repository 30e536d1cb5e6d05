"""The suitable precision by CPU flags and GPU, for made-up machines."""

from __future__ import annotations

import platform

import pytest

from drive_segment_ros.inference.machine import (
    Machine,
    processor_name,
    suitable_precision,
    this_machine,
)


@pytest.mark.parametrize(
    ('flags', 'gpu', 'precision', 'reason'),
    [
        ('avx2 avx512_vnni', True, 'fp16', 'NVIDIA GPU'),
        ('avx2 avx512_vnni avx512_bf16 amx_bf16 amx_int8', False, 'fp32', 'AMX'),
        ('avx2 avx512f avx512_vnni avx512_bf16', False, 'int8', 'avx512_vnni'),
        ('avx2 avx_vnni', False, 'int8', 'avx_vnni'),
        ('avx2 avx512f', False, 'fp32', 'that make a lower precision faster'),
        ('asimd asimddp bf16', False, 'fp32', 'that make a lower precision faster'),
        ('', False, 'fp32', 'that make a lower precision faster'),
    ],
)
def test_the_precision_follows_from_what_there_is(flags, gpu, precision, reason):
    choice = suitable_precision(Machine(frozenset(flags.split()), gpu))

    assert choice.precision == precision
    assert reason in choice.reason


def test_flags_and_gpu_are_those_the_system_names(tmp_path):
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text('model name\t: some\nflags\t\t: fpu avx2 avx512_vnni\nflags\t\t: fpu\n')
    gpu = tmp_path / 'nvidia0'

    machine = this_machine(cpuinfo, [str(gpu)])
    gpu.touch()

    assert machine == Machine(frozenset({'fpu', 'avx2', 'avx512_vnni'}), gpu=False)
    assert this_machine(cpuinfo, [str(gpu)]).gpu
    assert processor_name(cpuinfo) == 'some'
    assert processor_name(tmp_path / 'missing') == platform.machine()


def test_a_system_that_names_nothing_gets_full_precision(tmp_path):
    machine = this_machine(tmp_path / 'missing', [])

    assert suitable_precision(machine).precision == 'fp32'
