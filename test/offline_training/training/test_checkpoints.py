import dataclasses
import json

import pytest
import safetensors.torch
import torch

from drive_segment_ros.errors import ModelError
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import load_model, model_file, save_model

CONFIGURATION = NetworkConfiguration(3, 32, 48, 32, depth=1, heads=2)


def test_a_model_comes_back_with_its_configuration_and_provenance(tmp_path):
    network = Segmenter(CONFIGURATION).eval()
    save_model(tmp_path / 'model.safetensors', network, {'data': 'abc'})

    loaded, header = load_model(tmp_path / 'model.safetensors')

    image = torch.rand(1, 3, 32, 48)
    assert loaded.configuration == CONFIGURATION
    assert header['data'] == 'abc'
    assert torch.equal(loaded(image), network(image))
    assert not loaded.training


def test_a_run_stands_for_its_last_student(tmp_path):
    for stage in ('teacher', 'student', 'student_2'):
        save_model(tmp_path / stage / 'model.safetensors', Segmenter(CONFIGURATION), {})

    assert model_file(tmp_path).parent.name == 'student_2'
    assert model_file(tmp_path / 'teacher').parent.name == 'teacher'


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match='is an empty folder, not a trained model'):
        load_model(tmp_path)


@pytest.mark.parametrize('damage', ['truncated', 'text', 'foreign'])
def test_a_damaged_model_is_one_line(tmp_path, damage):
    path = tmp_path / 'model.safetensors'
    save_model(path, Segmenter(CONFIGURATION), {})
    if damage == 'truncated':
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == 'text':
        path.write_text('hello')
    else:
        import safetensors.torch

        safetensors.torch.save_file({'a': torch.zeros(1)}, path)

    with pytest.raises(ModelError, match='damaged or not a model') as caught:
        load_model(path)
    assert '\n' not in str(caught.value)


def test_a_failed_write_leaves_the_old_model(tmp_path, monkeypatch):
    path = tmp_path / 'model.safetensors'
    save_model(path, Segmenter(CONFIGURATION), {'data': 'old'})

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('drive_segment_ros.whole_files.os.fsync', full)
    with pytest.raises(Exception, match='No space left'):
        save_model(path, Segmenter(CONFIGURATION), {'data': 'new'})

    assert load_model(path)[1]['data'] == 'old'
    assert [file.name for file in tmp_path.iterdir()] == ['model.safetensors']


@pytest.mark.parametrize(
    'change',
    [{'embedding': 8000}, {'height': 16_000}, {'depth': 10**9}, {'classes': '3'}, {'patch': 0}],
    ids=str,
)
def test_a_configuration_by_strangers_takes_no_more_memory_than_the_file_has(tmp_path, change):
    path = tmp_path / 'model.safetensors'
    network = {**CONFIGURATION.to_dict(), **change}
    tensors = Segmenter(CONFIGURATION).state_dict()
    header = {'configuration': json.dumps({'network': network})}
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(ModelError, match=r'does not fit its own|by another version') as error:
        load_model(path)
    assert '\n' not in str(error.value)


def test_an_input_by_strangers_takes_no_memory_of_its_patches_squared(tmp_path):
    large = dataclasses.replace(CONFIGURATION, height=16_384, position='rows', window=1)
    with torch.device('meta'):
        tensors = Segmenter(dataclasses.replace(large, width=16)).state_dict()
    network = {**large.to_dict(), 'width': 16_384}
    zeros = {name: torch.zeros(value.shape) for name, value in tensors.items()}
    header = {'configuration': json.dumps({'network': network})}
    safetensors.torch.save_file(zeros, tmp_path / 'model.safetensors', header)

    with pytest.raises(ModelError, match='its height and width are invalid'):
        load_model(tmp_path / 'model.safetensors')
