"""The notebook, run from top to bottom on a small model and pictures made here."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from offline_training.demo.demo import HELD_OUT_TOWN

NOTEBOOK = Path(__file__).resolve().parents[1] / 'notebooks/try_a_model.ipynb'
LIMIT_S = 120


def small_run(run: Path) -> Path:
    """A run whose network never learned: its answers do not matter here."""
    from offline_training.common.classes import ClassName, save_classes
    from offline_training.networks.segmenter import Segmenter, configuration
    from offline_training.training.checkpoints import MODEL_FILE, save_model

    save_model(run / 'student' / MODEL_FILE, Segmenter(configuration('tiny', 2, 48, 64)), {})
    save_classes(run / 'classes.yaml', [ClassName('road', (9, 9, 9)), ClassName('car', (1, 2, 3))])
    return run


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip('nbformat', reason="pip install '.[docs]'")
    client = pytest.importorskip('nbclient', reason="pip install '.[docs]'")
    images = tmp_path / 'images'
    images.mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (48, 64, 3))
        cv2.imwrite(str(images / f'{number}.png'), picture)
    monkeypatch.setenv('MODEL', str(small_run(tmp_path / 'run')))
    monkeypatch.setenv('IMAGES', str(images))
    packages = (str(NOTEBOOK.parents[1]), os.environ.get('PYTHONPATH', ''))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(packages))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get('outputs') for cell in notebook.cells), 'clear its outputs'
    client.NotebookClient(notebook, timeout=LIMIT_S, kernel_name='python3').execute(
        cwd=str(tmp_path)
    )
    source = str([cell['source'] for cell in notebook.cells])
    assert f'held_out_dataset/town_{HELD_OUT_TOWN}/front/image' in source, 'where a demo leaves it'
    said = str([cell.get('outputs') for cell in notebook.cells])
    assert "'named'" in said
    assert 'image/png' in said
    assert 'video/webm' in said
