"""`warm-up` compiles the kernels that nodes and extraction need, and prepares a model."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli, compiled_kernels
from drive_segment_ros.compiled_kernels import FRAMES, VIEW


def test_a_machine_is_warm_afterwards(tmp_path, monkeypatch, model_folder):
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr(compiled_kernels, 'kernel_folder', lambda: tmp_path)

    result = CliRunner().invoke(cli.app, ['warm-up', '--model', str(model_folder), '--json'])

    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert 'CPU' in report['backend']
    assert compiled_kernels.are_compiled(FRAMES)
    assert compiled_kernels.are_compiled(VIEW)


def test_what_is_no_model_is_told_before_anything_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr('offline_training.deploy.warm_up._frames', pytest.fail)

    result = CliRunner().invoke(cli.app, ['warm-up', '--model', str(tmp_path)])

    assert result.exit_code == 1
    assert 'not an exported model' in ' '.join(result.stderr.split())
