"""`doctor`: each check reports its status, and advice on how to fix a problem."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from drive_segment_ros import doctor
from drive_segment_ros.inference.machine import Machine

Usage = namedtuple('Usage', 'total used free')


def test_this_machine_gets_a_finding_on_every_subject() -> None:
    checks = doctor.diagnose()
    names = {check.name for check in checks}
    assert {'Python', 'numpy', 'numba', 'cv2', 'open3d', 'rosbags'} <= names
    assert {'ROS 2', 'GPU', 'processor', 'memory', 'disk', 'shared memory', 'clock'} <= names
    for check in checks:
        assert check.status in ('ok', 'hint', 'problem')
        assert '\n' not in check.detail + check.advice
        if check.status == 'problem':
            assert check.advice, f'{check.name} is a problem and nothing says what to do'


@pytest.mark.parametrize(
    ('available_mib', 'limit', 'fit', 'status'),
    [
        (100_000, 'max\n', 'extract 238 of 420 MiB, segment 156 of 640 MiB', 'ok'),
        (100_000, str(900 * 2**20), 'extract 2 of 420 MiB, segment 1 of 640 MiB', 'hint'),
        (100, '', 'extract 0 of 420 MiB, segment 0 of 640 MiB', 'hint'),
    ],
)
def test_memory_says_how_many_workers_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    available_mib: int,
    limit: str,
    fit: str,
    status: str,
) -> None:
    monkeypatch.setattr(doctor.os, 'sched_getaffinity', lambda _: {0, 1})
    (tmp_path / 'meminfo').write_text(
        f'MemTotal: 1 kB\nMemAvailable:   {available_mib * 1024} kB\n'
    )
    if limit:
        (tmp_path / 'max').write_text(limit)
    check = doctor.check_memory(tmp_path / 'meminfo', tmp_path / 'max')
    assert (check.name, check.status) == ('memory', status)
    assert f'2 cores; workers that fit: {fit}' in check.detail
    if status == 'hint':
        assert 'segment --workers 1' in check.advice
        assert ('extract --workers' in check.advice) is (available_mib == 100)


@pytest.mark.parametrize(
    ('version', 'status'),
    [((3, 9), 'problem'), ((3, 10), 'ok'), ((3, 14), 'ok'), ((3, 15), 'problem')],
)
def test_python_versions(version: tuple[int, int], status: str) -> None:
    assert doctor.check_python(version).status == status


def test_missing_package_is_named_as_pip_knows_it() -> None:
    check = doctor.check_package('no_such_module', 'no-such-package', 'dreaming')
    assert check.status == 'problem'
    assert 'pip install no-such-package' in check.advice
    assert 'no_such_module' in check.detail
    assert 'dreaming' in check.advice


def test_package_that_is_too_old_is_named_with_what_is_needed(monkeypatch) -> None:
    monkeypatch.setattr(doctor, '_version', lambda module, distribution: '1.21.5')
    monkeypatch.setattr(
        doctor.importlib.metadata, 'requires', lambda name: ['numpy>=1.24', 'rich>=13.0']
    )
    check = doctor.check_package('numpy', 'numpy', 'everything')
    assert check.status == 'problem'
    assert check.detail == '1.21.5 is too old'
    assert "pip install 'numpy>=1.24'" in check.advice
    monkeypatch.setattr(doctor, '_version', lambda module, distribution: '1.24.0+local')
    assert doctor.check_package('numpy', 'numpy', 'everything').status == 'ok'


@pytest.mark.parametrize('error', ['ImportError', 'OSError', 'AttributeError'])
def test_package_whose_library_is_missing_is_told_apart_from_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    source = f"raise {error}('libusb-1.0.so.0: cannot open shared object file')"
    (tmp_path / 'module_without_library.py').write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    check = doctor.check_package('module_without_library', 'x', 'clouds')
    assert check.status == 'problem'
    assert 'libusb' in check.detail
    assert 'apt install' in check.advice


def test_tensorrt_without_cuda_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {'tensorrt': True, 'cuda.bindings': False}
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda name: there.get(name) or None)
    monkeypatch.setattr(doctor, '_version', lambda *_: '10')
    assert [(c.name, c.status) for c in doctor.check_backends()] == [
        ('tensorrt', 'ok'),
        ('cuda-python', 'problem'),
    ]


def test_without_ros_the_rest_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    monkeypatch.setitem(sys.modules, 'rclpy.utilities', None)
    (check,) = doctor.check_ros({})
    assert check.status == 'hint'
    assert 'source' in check.advice


@pytest.mark.parametrize(
    ('domain', 'status'),
    [
        ('0', 'ok'),
        ('101', 'ok'),
        ('102', 'problem'),
        ('car', 'problem'),
        ('²', 'problem'),
        ('', 'ok'),
    ],
)
def test_domains(domain: str, status: str) -> None:
    assert doctor.check_domain({'ROS_DOMAIN_ID': domain}).status == status


def test_transport_for_large_messages() -> None:
    assert doctor.check_transport({}).status == 'hint'
    large = {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA?max_msg_size=1MB'}
    assert doctor.check_transport(large).status == 'ok'


def test_processor_reads_the_instruction_sets(tmp_path: Path) -> None:
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text('model name : some\nflags\t\t: fpu avx2 amx_bf16\n')
    detail = doctor.check_processor(cpuinfo).detail
    assert 'avx2' in detail
    assert 'amx_bf16' in detail
    assert 'avx512f' not in detail


@pytest.mark.parametrize(('free_gib', 'status'), [(0.5, 'problem'), (5, 'hint'), (100, 'ok')])
def test_disk(
    free_gib: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(0, 0, int(free_gib * doctor.GIB))
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    assert doctor.check_disk(tmp_path).status == status


@pytest.mark.parametrize(('total_mib', 'status'), [(64, 'hint'), (1024, 'ok')])
def test_shared_memory(
    total_mib: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(total_mib * doctor.MIB, 0, 0)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    assert doctor.check_shared_memory(tmp_path).status == status


def test_socket_buffer(tmp_path: Path) -> None:
    setting = tmp_path / 'rmem_max'
    setting.write_text('212992\n')
    assert 'sysctl' in doctor.check_receive_buffer(setting).advice
    setting.write_text('16777216\n')
    assert doctor.check_receive_buffer(setting).status == 'ok'
    assert doctor.check_receive_buffer(tmp_path / 'missing').status == 'hint'


def test_model_precision_says_how_to_export_and_why() -> None:
    check = doctor.check_export(Machine(frozenset({'avx512_vnni'}), gpu=False))
    assert check.detail.startswith('export --precision int8: ')
    assert 'avx512_vnni' in check.detail
