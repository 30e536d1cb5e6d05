"""docs/reproduce.md: its values, its configuration, and its commands on miniature data."""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path

import box_world
import cv2
import numpy as np
import nuscenes_layout
import pytest
from doc_commands import command_lines, options
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameter_files import read_parameters
from drive_segment_ros.parameters import to_flat
from drive_segment_ros.text_files import read_yaml
from offline_training.bags.published.registry import set_names
from offline_training.evaluation.ground_truth import LAYOUTS
from offline_training.evaluation.label_space import space_names
from offline_training.pseudo_labels.pseudo_classes import LabelParameters
from offline_training.training.train import TrainParameters

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/reproduce.md'
CONFIGURATION = ROOT / 'config/reproduce.yaml'
PARAMETERS = {'extract': FrameParameters, 'label': LabelParameters, 'train': TrainParameters}
TRAIN_IDS = {'road': 0, 'building': 2, 'pole': 5, 'sky': 10, 'person': 11, 'car': 13}
LABEL_IDS = {'road': 7, 'building': 11, 'pole': 17, 'sky': 23, 'person': 24, 'car': 26}
# Published layout below the folders on the page: an image, its label, and the label ids.
BENCHMARKS = [
    (
        'cityscapes/leftImg8bit/val/a/a_1_leftImg8bit.png',
        'cityscapes/gtFine/val/a/a_1_gtFine_labelIds.png',
        LABEL_IDS,
    ),
    (
        'Dark_Zurich_val/rgb_anon/val/night/a/a_1_rgb_anon.png',
        'Dark_Zurich_val/gt/val/night/a/a_1_gt_labelTrainIds.png',
        TRAIN_IDS,
    ),
    (
        'NighttimeDrivingTest/leftImg8bit/test/night/1_leftImg8bit.png',
        'NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/1_gtCoarse_labelTrainIds.png',
        TRAIN_IDS,
    ),
    *(
        (
            f'acdc/rgb_anon/{name}/val/a/a_1_rgb_anon.png',
            f'acdc/gt/{name}/val/a/a_1_gt_labelTrainIds.png',
            TRAIN_IDS,
        )
        for name in ('fog', 'night', 'rain', 'snow')
    ),
]


def test_values_on_the_page_exist():
    used = set()
    for name, arguments in command_lines(PAGE):
        used.add(name)
        assert name != 'import' or arguments[0] in set_names()
        assert set(options(arguments, '--format')) <= set(LAYOUTS)
        assert set(options(arguments, '--label-space')) <= set(space_names())
        for file in options(arguments, '--params'):
            read_parameters(PARAMETERS[name], ROOT / file, options(arguments, '--set'))
    assert used == {'import', 'extract', 'label', 'train', 'evaluate'}


def test_each_command_takes_its_own_of_the_configuration():
    meant = {name: part['ros__parameters'] for name, part in read_yaml(CONFIGURATION).items()}
    assert set(meant) == set(PARAMETERS)
    for name, cls in PARAMETERS.items():
        taken, default = to_flat(read_parameters(cls, CONFIGURATION)), to_flat(cls())
        assert {key: taken.get(key) for key in meant[name]} == meant[name]
        # The sections of other commands change none of its parameters.
        assert {key for key in taken if taken[key] != default[key]} <= set(meant[name])


def test_the_page_shows_the_configuration():
    text = CONFIGURATION.read_text(encoding='utf-8')
    assert f'```yaml\n{text}```' in PAGE.read_text(encoding='utf-8')


def test_the_experiment_in_miniature(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / 'data')
    write_weights(tmp_path / 'data/dino-vits16')
    small = ['--set', 'width=160', '--set', 'training.epochs=1', '--set', 'training.batch_size=2']
    done = []
    for name, arguments in command_lines(PAGE):
        if not is_of_miniature(name, arguments):
            continue
        words = [
            re.sub('^/data/', f'{tmp_path}/data/', word)
            .replace('=/data/', f'={tmp_path}/data/')
            .replace('config/', f'{ROOT}/config/')
            for word in arguments
        ]
        words = [path for word in words for path in (sorted(glob.glob(word)) or [word])]
        one_process = ['--workers', '1'] if name != 'train' else small
        result = CliRunner().invoke(cli.app, [name, *words, *one_process, '--json'])
        assert result.exit_code == 0, f'{name} {" ".join(words)}: {result.output}'
        done.append((name, json.loads(result.stdout)))
    assert [name for name, _ in done] == ['import', 'extract', 'label', 'train'] + 10 * [
        'evaluate'
    ]
    reports = dict(done[:4])
    assert reports['extract']['frames'] == 6
    assert len(read_yaml(tmp_path / 'data/run/classes.yaml')) >= 30
    for (_, scores), arguments in zip(done[4:], evaluations(), strict=True):
        assert scores['k'] == 30
        assert 0.0 <= scores['strict']['miou'] <= scores['many_to_one']['miou'] <= 100.0
        assert (tmp_path / options(arguments, '-o')[0] / 'scores.json').is_file()


def is_of_miniature(name: str, arguments: list[str]) -> bool:
    """Return whether a line is run: nuScenes, on one machine, with local DINO weights."""
    if name == 'import':
        return arguments[0] == 'nuscenes' and '--all' in arguments
    if name in ('label', 'train'):
        return any(word.endswith('/data/dino-vits16') for word in arguments)
    return True


def evaluations() -> list[list[str]]:
    return [arguments for name, arguments in command_lines(PAGE) if name == 'evaluate']


def write_data(root: Path) -> None:
    """Write a synthetic scene in nuScenes layout, and a labelled image for each benchmark."""
    nuscenes_layout.write(root / 'nuscenes', sweeps=10)
    view = nuscenes_layout.T_base_camera('CAM_FRONT'), nuscenes_layout.K
    shown = box_world.picture(*view, (nuscenes_layout.WIDTH, nuscenes_layout.HEIGHT), 0.3)
    for image, label, ids in BENCHMARKS:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / label).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(box_world.encoded(shown))
        number = np.array([ids[name] for name in box_world.NAMES], np.uint8)[shown]
        cv2.imwrite(str(root / label), number)


def write_weights(folder: Path) -> None:
    """Write a small ViT in the format of DINO's weights, randomly initialised."""
    import torch

    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    shape = {'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2}
    config = transformers.ViTConfig(intermediate_size=128, patch_size=16, **shape)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
