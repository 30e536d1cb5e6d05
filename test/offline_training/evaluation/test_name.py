import types

import numpy as np
import pytest
import torch

from drive_segment_ros.errors import ModelError, OutputError
from offline_training.common.classes import ClassName, default_classes, load_classes
from offline_training.evaluation.name import name_by_hand, name_from_labels, renamed
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import save_model


@pytest.fixture
def run(tmp_path):
    """A run with four pseudo-classes without names."""
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(4, 32, 48, 32, depth=1, heads=2))
    save_model(tmp_path / 'run/student/model.safetensors', network, {})
    return tmp_path / 'run'


def names_of(classes):
    return [item.name for item in classes]


def test_a_pseudo_class_is_named_after_what_it_shows_most(run, monkeypatch):
    # Pseudo-class 1 is matched to person by 3 pixels, though its other 900 are road.
    confusion = np.array([[1000, 0, 0], [900, 0, 3], [0, 500, 0], [0, 0, 0], [7, 7, 7]])
    labelled = types.SimpleNamespace(classes=['road', 'sky', 'person'])
    monkeypatch.setattr(
        'offline_training.evaluation.name.count_confusion', lambda *_, **__: (confusion, labelled)
    )

    classes = name_from_labels(run, run, run)

    assert names_of(classes) == ['road', 'road', 'sky', 'pseudo_class_03']
    assert load_classes(run / 'classes.yaml') == classes
    assert [item.color for item in classes[:3]] == [(128, 64, 128)] * 2 + [(70, 130, 180)]
    assert classes[3] == default_classes(4)[3]


def test_a_colour_given_by_hand_stays_with_its_name():
    classes = [ClassName('road', (1, 2, 3)), *default_classes(3)[1:]]
    assert [item.color for item in renamed(classes, {1: 'road', 2: 'car'})] == [
        (1, 2, 3),
        (1, 2, 3),
        (0, 0, 142),
    ]


def test_names_by_hand_share_a_colour_and_unknown_numbers_are_refused(run, tmp_path):
    names = tmp_path / 'names.yaml'
    names.write_text('0: car\n2: car\n')

    classes = name_by_hand(run, names)

    assert names_of(classes) == ['car', 'pseudo_class_01', 'car', 'pseudo_class_03']
    assert classes[0].color == classes[2].color
    names.write_text('2: tree\n')
    with pytest.raises(OutputError, match='calls pseudo-class 2 car, not tree'):
        name_by_hand(run, names)
    assert load_classes(run / 'classes.yaml') == classes
    assert len({item.color for item in name_by_hand(run, names, overwrite=True)}) == 4
    names.write_text('9: car\n')
    with pytest.raises(ModelError, match='it has no 9'):
        name_by_hand(run, names)


@pytest.mark.parametrize('text', ['yes: road\n', '1:\n', '1: ""\n', 'road\n', '1: [road\n'])
def test_names_of_another_form_are_refused(run, tmp_path, text):
    (tmp_path / 'names.yaml').write_text(text)

    with pytest.raises(ModelError, match=r'names\.yaml'):
        name_by_hand(run, tmp_path / 'names.yaml')


def test_names_in_another_encoding_are_refused(run, tmp_path):
    (tmp_path / 'names.yaml').write_bytes('1: Stra\xdfe\n'.encode('latin-1'))

    with pytest.raises(ModelError, match='is not valid YAML'):
        name_by_hand(run, tmp_path / 'names.yaml')


def test_an_exported_model_is_not_named_itself(tmp_path):
    (tmp_path / 'model.json').write_text('{}')
    (tmp_path / 'names.yaml').write_text('1: road\n')

    with pytest.raises(ModelError, match='is exported; name the classes'):
        name_by_hand(tmp_path, tmp_path / 'names.yaml')
