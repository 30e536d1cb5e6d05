"""`evaluate` gives the same scores for any number of workers, local or on a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clusters import Cluster

from drive_segment_ros.errors import DatasetError
from offline_training.evaluation.evaluate import evaluate
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import save_model

IMAGES = 40


@pytest.fixture(scope='module')
def labelled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('labelled')
    rng = np.random.default_rng(0)
    for name in ('image', 'truth', 'label'):
        (folder / name).mkdir()
    for number in range(IMAGES):
        cv2.imwrite(str(folder / f'image/{number:02d}.png'), rng.integers(0, 255, (24, 36, 3)))
        # Only the last image has the largest label, which sets K for all workers.
        largest = 9 if number == IMAGES - 1 else 4
        cv2.imwrite(str(folder / f'label/{number:02d}.png'), rng.integers(0, largest, (24, 36)))
        cv2.imwrite(str(folder / f'truth/{number:02d}.png'), rng.integers(0, 3, (24, 36)))
    (folder / 'truth/classes.json').write_text('{"classes": ["road", "car", "sky"]}')
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2))
    save_model(folder / 'run/student/model.safetensors', network, {})
    return folder


def scores(labelled: Path, model: str, output: Path, **options) -> tuple[dict, dict]:
    shown = []

    def show(items):
        for item in items:
            shown.append(item)
            yield item

    report = evaluate(
        labelled / model,
        labelled / 'image',
        labelled / 'truth',
        output=output,
        progress=show,
        **options,
    )
    assert len(shown) == IMAGES
    return report, json.loads((output / 'confusion.json').read_text())


@pytest.mark.parametrize('model', ['run', 'label'])
def test_scores_do_not_depend_on_who_looks(labelled, model, tmp_path) -> None:
    alone = scores(labelled, model, tmp_path / 'alone', workers=1)
    assert np.sum(alone[1]['pixels']) == IMAGES * 24 * 36
    assert alone[0]['k'] == (5 if model == 'run' else 9)
    assert scores(labelled, model, tmp_path / 'two', workers=2) == alone
    cluster = Cluster(tmp_path)
    try:
        by_cluster = scores(labelled, model, tmp_path / 'by', scheduler=cluster.address)
    finally:
        cluster.close()
    assert by_cluster == alone


def test_a_model_trained_again_is_loaded_again(labelled, tmp_path) -> None:
    arguments = (labelled / 'image', labelled / 'truth')
    file = tmp_path / 'run/student/model.safetensors'
    reports = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = Segmenter(NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2))
        save_model(file, network, {})
        reports.append(evaluate(tmp_path / 'run', *arguments, workers=1))
    assert reports[0] != reports[1]


def test_what_is_wrong_in_a_worker_is_told_as_ever(labelled, tmp_path) -> None:
    (tmp_path / 'truth').mkdir()
    for path in (labelled / 'truth').iterdir():
        (tmp_path / 'truth' / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / 'truth/20.png'), np.zeros((36, 24), np.uint8))
    with pytest.raises(DatasetError, match=r'20\.png is 24x36, but its image'):
        evaluate(labelled / 'run', labelled / 'image', tmp_path / 'truth', workers=2)
