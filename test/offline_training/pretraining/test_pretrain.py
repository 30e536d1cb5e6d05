"""Pretraining of an encoder on unlabelled images, and its use by `label` and `train`."""

import json

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError, ImageError, ModelError
from drive_segment_ros.parameters import from_flat
from offline_training.pretraining import pretrain as module
from offline_training.pretraining.pretrain import PretrainParameters, pretrain
from offline_training.pseudo_labels.features import load_backbone
from offline_training.training.train import TrainParameters, new_network

pytestmark = pytest.mark.usefixtures('small_network')


@pytest.fixture
def images(tmp_path):
    """A folder of four images of vertical stripes: two steps an epoch at batch size 2."""
    folder = tmp_path / 'images'
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        image = np.repeat(random.integers(0, 256, (1, 80, 3)), 48, axis=0).astype(np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), image)
    return folder


def parameters(**changes) -> PretrainParameters:
    small = {'epochs': 1, 'batch_size': 2, 'width': 80, 'view': 32, 'small_views': 1}
    return from_flat(PretrainParameters, {**small, 'prototypes': 8, **changes})


def weights(folder):
    return (folder / 'model.safetensors').read_bytes()


def test_what_is_learned_starts_a_network_and_describes_patches(images, tmp_path):
    report = pretrain([images], tmp_path / 'weights', parameters())

    backbone = load_backbone(report['weights'], local_only=True)
    network = new_network(TrainParameters(initial_weights=report['weights']), 5, 48, 80)
    assert (report['images'], report['steps']) == (4, 2)
    assert 0.01 < report['spread'] <= 1.0
    assert backbone.dense(np.zeros((48, 80, 3), np.uint8), 48, 80).shape == (3, 5, 64)
    theirs = backbone.model.embeddings.patch_embeddings.projection.weight
    assert torch.equal(network.encoder.stem.projection.weight, theirs)


def test_learning_moves_the_weights_and_depends_on_the_seed_alone(images, tmp_path):
    first = pretrain([images], tmp_path / 'first', parameters())
    pretrain([images], tmp_path / 'again', parameters())
    pretrain([images], tmp_path / 'other', parameters(seed=1))
    still = {'learning_rate': 0.0, 'matrix_learning_rate': 0.0}
    pretrain([images], tmp_path / 'still', parameters(**still))

    assert np.isfinite(first['loss'])
    assert weights(tmp_path / 'first') == weights(tmp_path / 'again')
    assert weights(tmp_path / 'first') != weights(tmp_path / 'other')
    assert weights(tmp_path / 'first') != weights(tmp_path / 'still')


def test_an_interrupted_run_resumes_to_the_same_weights(images, tmp_path, monkeypatch):
    how = parameters(epochs=2, checkpoint_s=0.0)
    pretrain([images], tmp_path / 'whole', how)
    loss, steps = module.distillation_loss, []

    def interrupted(*arguments):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, 'distillation_loss', interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain([images], tmp_path / 'run', how)
    assert not (tmp_path / 'run/model.safetensors').exists()

    with monkeypatch.context() as patch:
        patch.setattr(module, 'distillation_loss', lambda *a: steps.append(1) or loss(*a))
        pretrain([images], tmp_path / 'run', how, resume=True)

    assert len(steps) == 5  # Three before, the third interrupted, and the last two of four.
    assert weights(tmp_path / 'run') == weights(tmp_path / 'whole')


def test_what_is_there_is_not_overwritten_nor_resumed_with_other_parameters(images, tmp_path):
    pretrain([images], tmp_path / 'run', parameters())
    before = weights(tmp_path / 'run')

    with pytest.raises(ModelError, match='is not empty; resume it or choose another'):
        pretrain([images], tmp_path / 'run', parameters())
    with pytest.raises(ModelError, match='with other parameters'):
        pretrain([images], tmp_path / 'run', parameters(seed=1), resume=True)
    (images / '3.png').unlink()
    with pytest.raises(ModelError, match='with other unlabelled'):
        pretrain([images], tmp_path / 'run', parameters(), resume=True)

    assert weights(tmp_path / 'run') == before


def test_an_encoder_that_says_the_same_of_everything_is_not_written(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module.SelfDistillation, 'tokens', constant_tokens)

    with pytest.raises(ModelError, match='the encoder collapsed at step 0') as error:
        pretrain([images], tmp_path / 'run', parameters())

    assert '\n' not in str(error.value)
    assert not (tmp_path / 'run/model.safetensors').exists()


def constant_tokens(self, images, masked=None):
    count = (images.shape[-1] // 16) ** 2 + 1
    return self.backbone.embeddings.cls_token.expand(len(images), count, -1)


def test_a_network_does_not_start_from_a_run_that_is_not_finished(images, tmp_path):
    (tmp_path / 'run').mkdir()
    with pytest.raises(ModelError, match='cannot load backbone'):
        new_network(TrainParameters(initial_weights=str(tmp_path / 'run')), 5, 48, 80)


def test_bad_input_is_one_line(images, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImageError, match='has no image'):
        pretrain([tmp_path / 'empty'], tmp_path / 'run', parameters())
    with DriveWriter(tmp_path / 'set/drive', {'cameras': {'front': {}}}):
        pass
    (tmp_path / 'set/drive/front').mkdir(exist_ok=True)
    (tmp_path / 'set/drive/front/frames.jsonl').touch()
    with pytest.raises(DatasetError, match='set has no frame'):
        pretrain([tmp_path / 'set'], tmp_path / 'run', parameters())
    with pytest.raises(ImageError, match='does not exist'):
        pretrain([tmp_path / 'nowhere'], tmp_path / 'run', parameters())
    with pytest.raises(ModelError, match='view 40 is not a multiple of 16'):
        pretrain([images], tmp_path / 'run', parameters(view=40))
    assert not (tmp_path / 'run').exists()


def test_the_command_pretrains_from_a_drive_and_train_takes_it(painted_drive, tmp_path):
    small = ('batch_size=2', 'width=80', 'view=32', 'small_views=1', 'prototypes=8')
    options = [word for one in small for word in ('--set', one)]
    out = tmp_path / 'weights'

    def run(*words):
        return CliRunner().invoke(cli.app, list(map(str, words)))

    made = run('pretrain', painted_drive.dataset, '-o', out, '--epochs', 1, *options, '--json')
    again = run('pretrain', painted_drive.dataset, '-o', out, *options)
    resumed = run(
        'pretrain', painted_drive.dataset, '-o', out, '--epochs', 1, *options, '--resume'
    )
    label = run('label', painted_drive.dataset, '--classes', 4, '--features', out, '--json')
    trained = run(
        *('train', painted_drive.dataset, '-o', tmp_path / 'run', '--initial', out),
        *('--epochs', 1, '--set', 'width=112', '--json'),
    )

    assert json.loads(made.stdout)['weights'] == str(out)
    assert again.exit_code == 1
    assert 'is not empty; resume it or choose another folder' in again.stderr
    spread = json.loads(made.stdout)['spread']
    assert f'spread of the features {spread:.3f}' in resumed.stdout, resumed.stderr
    assert json.loads(label.stdout)['features'] == str(out)
    assert trained.exit_code == 0, trained.stderr
    kept = json.loads((tmp_path / 'run/run.json').read_text())
    assert kept['parameters']['initial_weights'] == str(out)


def test_two_processes_share_the_work_and_one_speaks(images, tmp_path, in_two_processes):
    small = ('batch_size=2', 'width=80', 'view=32', 'small_views=1', 'prototypes=8')
    options = [word for one in small for word in ('--set', one)]
    out = tmp_path / 'weights'

    answer = in_two_processes(
        *('-m', 'drive_segment_ros.cli', 'pretrain', str(images), '-o', str(out)),
        *('--epochs', '1', *options, '--json'),
    )

    assert json.loads(answer)['steps'] == 1
    assert load_backbone(str(out), local_only=True).model.config.hidden_size == 256
