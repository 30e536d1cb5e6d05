"""The precision that OpenVINO computes in, by what runs on a fake processor."""

from __future__ import annotations

import logging
import subprocess
import sys
import types

import pytest

from drive_segment_ros import doctor
from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference import openvino_backend
from drive_segment_ros.inference.openvino_backend import (
    OpenVinoBackend,
    compile_fastest,
    refuse_limited_processor,
)


class Processor:
    """Fake OpenVINO core that reports bf16 or not, with an inference time per precision.

    With a time of None the graph does not compile, with a negative time inference fails.
    """

    def __init__(self, monkeypatch, claims_bf16=True, f32=1.0, bf16=0.6):
        self.claims = ['FP32', 'BF16'] if claims_bf16 else ['FP32']
        self.seconds = {'f32': f32, 'bf16': bf16}
        self.tried: list[str] = []
        self.now = 0.0
        clock = types.SimpleNamespace(process_time=lambda: self.now)
        monkeypatch.setattr(openvino_backend, 'time', clock)

    def get_property(self, device, name):
        assert (device, name) == ('CPU', 'OPTIMIZATION_CAPABILITIES')
        return self.claims

    def compile_model(self, graph, device, settings):
        precision = settings['INFERENCE_PRECISION_HINT']
        self.tried.append(precision)
        if self.seconds[precision] is None:
            raise RuntimeError('could not create\na primitive')
        infer = types.SimpleNamespace(infer=lambda *_, **__: self._infer(precision))
        return types.SimpleNamespace(
            create_infer_request=lambda: infer, output=lambda name: name, precision=precision
        )

    def _infer(self, precision):
        if self.seconds[precision] < 0.0:
            raise RuntimeError('illegal instruction')
        self.now += self.seconds[precision]


@pytest.mark.parametrize(
    ('processor', 'precision', 'why'),
    [
        ({'claims_bf16': False}, 'f32', ''),
        ({}, 'bf16', ''),
        ({'bf16': 1.2}, 'bf16', ''),
        ({'bf16': 60.0}, 'f32', 'takes 60.0 times as long'),
        ({'bf16': None}, 'f32', 'fails (could not create a primitive)'),
        ({'bf16': -1.0}, 'f32', 'fails (illegal instruction)'),
    ],
)
def test_the_precision_is_what_really_runs(monkeypatch, processor, precision, why):
    compiled = compile_fastest(Processor(monkeypatch, **processor), 'model.onnx')

    assert compiled.precision == compiled.model.precision == precision
    assert why in compiled.fallback
    assert bool(why) == bool(compiled.fallback)


def test_what_the_model_alone_fails_in_is_left_aside(monkeypatch):
    processor = Processor(monkeypatch)
    compile_model = processor.compile_model

    def refuse(graph, device, settings):
        if graph == 'model.onnx' and settings['INFERENCE_PRECISION_HINT'] == 'bf16':
            raise RuntimeError('no such kernel')
        return compile_model(graph, device, settings)

    processor.compile_model = refuse
    compiled = compile_fastest(processor, 'model.onnx')

    assert compiled.precision == compiled.model.precision == 'f32'
    assert compiled.fallback == 'bf16, which the processor reports, fails (no such kernel)'


def test_a_model_is_compiled_once(monkeypatch):
    processor = Processor(monkeypatch)
    graphs = []
    compile_model = processor.compile_model
    processor.compile_model = lambda graph, *rest: (
        graphs.append(graph) or compile_model(graph, *rest)
    )

    compile_fastest(processor, 'model.onnx')

    assert graphs.count('model.onnx') == 1


def test_exact_is_not_tried_in_bf16(monkeypatch):
    processor = Processor(monkeypatch)

    assert compile_fastest(processor, 'model.onnx', exact=True).precision == 'f32'
    assert processor.tried == ['f32']


def test_a_fallback_is_said_in_the_log_and_by_the_doctor(monkeypatch, model_folder, caplog):
    from drive_segment_ros.inference.model import read_model

    pytest.importorskip('openvino')
    processor = Processor(monkeypatch, bf16=None)
    monkeypatch.setattr(openvino_backend, 'process_core', lambda: processor)

    with caplog.at_level(logging.WARNING):
        backend = OpenVinoBackend(read_model(model_folder))
    (check,) = doctor.check_precision()

    assert backend.description == 'OpenVINO CPU f32'
    assert 'f32: bf16, which the processor reports, fails (could not create' in caplog.text
    assert check.status == 'hint'
    assert 'f32: bf16, which the processor reports, fails (could not create' in check.detail
    assert 'ONEDNN_MAX_CPU_ISA' in check.advice


def test_auto_goes_on_when_what_compiled_does_not_run(monkeypatch, model_folder, caplog):
    from drive_segment_ros.inference.segmenter import load

    pytest.importorskip('openvino')
    pytest.importorskip('onnxruntime')
    failing = Processor(monkeypatch, claims_bf16=False, f32=-1.0)
    monkeypatch.setattr(openvino_backend, 'process_core', lambda: failing)

    assert load(model_folder, threads=1).backend == 'ONNX Runtime CPU fp32'
    assert 'backend openvino is not used: OpenVINO cannot run the model: illegal' in caplog.text


def test_the_doctor_tries_the_real_one():
    pytest.importorskip('openvino')

    (check,) = doctor.check_precision()

    assert check.status in ('ok', 'hint')
    assert check.detail.startswith(('bf16', 'f32'))


def test_the_doctor_names_what_cannot_compute_at_all(monkeypatch):
    pytest.importorskip('openvino')
    refusing = Processor(monkeypatch, f32=None)
    monkeypatch.setattr(openvino_backend, 'process_core', lambda: refusing)

    (check,) = doctor.check_precision()

    assert check.status == 'problem'
    assert '\n' not in check.detail


AFTER_MODELS = """
import os, pathlib, signal, sys
from drive_segment_ros.inference.segmenter import load

folder = pathlib.Path(sys.argv[1])
models = [load(folder, 'openvino', threads=1) for _ in range(2)]
while models:
    models.pop(0).close()
signal.signal(signal.SIGTERM, lambda *_: print('handled'))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_models_were_closed_is_handled(model_folder):
    pytest.importorskip('openvino')

    command = [sys.executable, '-c', AFTER_MODELS, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr


@pytest.mark.parametrize(
    ('limit', 'flags', 'crashes'),
    [
        ('AVX2', 'avx2 avx512f', True),
        ('avx2_vnni', 'avx2 avx512f', True),
        ('AVX512_CORE', 'avx2 avx512f', False),
        ('AVX2', 'avx2', False),
        ('', 'avx2 avx512f', False),
    ],
)
def test_a_limit_below_what_the_processor_has_is_refused(
    monkeypatch, tmp_path, limit, flags, crashes
):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', limit)
    monkeypatch.delenv('DNNL_MAX_CPU_ISA', raising=False)
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text(f'flags : sse {flags}')
    if not crashes:
        refuse_limited_processor(cpuinfo)
        return
    with pytest.raises(ModelError, match='unset ONEDNN_MAX_CPU_ISA'):
        refuse_limited_processor(cpuinfo)
