"""Shared by what shows runs to people: a run whose networks never learned, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope='session')
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with teacher and student, never trained; its cache holds two images."""
    import safetensors.numpy

    from offline_training.checkpoints import CHECKPOINT_FILE, MODEL_FILE, save_model
    from offline_training.classes import ClassName, save_classes
    from offline_training.files import write_json
    from offline_training.networks.segmenter import Segmenter, configuration

    run = tmp_path_factory.mktemp('runs') / 'run'
    network = Segmenter(configuration('tiny', 2, HEIGHT, WIDTH))
    for stage in ('teacher', 'student'):
        save_model(run / stage / MODEL_FILE, network, {'stage': stage})
        losses = np.linspace(3.0, 1.0, 500)
        safetensors.numpy.save_file({'losses': losses}, run / stage / CHECKPOINT_FILE)
    write_json(run / 'run.json', {'parameters': {'training.epochs': 7}})
    classes = [ClassName('road', (128, 64, 128)), ClassName('car <b>', (0, 0, 142))]
    save_classes(run / 'classes.yaml', classes)
    (run / 'cache/images').mkdir(parents=True)
    np.save(run / 'cache/images/images.npy', np.zeros((2, HEIGHT, WIDTH, 3), np.uint8))
    return run


@pytest.fixture(scope='session')
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    if chromium is None:
        pytest.skip('no Chromium on this machine; apt-get install chromium')
    sync_api = pytest.importorskip('playwright.sync_api')
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that containers lack; the pages are our own.
        started = playwright.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        yield started
        started.close()
