"""The model card: front matter that model hubs read, and the facts recorded in the model."""

from __future__ import annotations

import yaml

from drive_segment_ros.inference.model import Model, ModelClass
from offline_training.deploy.model_card import model_card


def model(tmp_path, names=('road', 'road', 'tree | bush'), **training):
    return Model(
        onnx_path=tmp_path / 'model.onnx',
        sha256='ab' * 32,
        precision='fp32',
        opset=18,
        input_size=(288, 512),
        output_size=(144, 256),
        classes=[ModelClass(name, (i, 2, 3)) for i, name in enumerate(names)],
        provenance={'exported_by': 'drive_segment_ros 1.2.3', 'training': training},
    )


def test_front_matter_and_facts(tmp_path):
    network = {'classes': 3, 'depth': 4, 'stem': 'conv'}
    card = model_card(model(tmp_path, version='1.2.0', data='cafe', network=network))
    _, front, text = card.split('---\n', 2)
    front = yaml.safe_load(front)
    assert front['pipeline_tag'] == 'image-segmentation'
    assert 'license' not in front
    assert '| input | `image`, 1 x 288 x 512 x 3, uint8, BGR |' in text
    assert '| trained by | drive_segment_ros 1.2.0 |' in text
    assert '| network | classes 3, depth 4 |' in text
    assert '| training data | frames of fingerprint `cafe` |' in text
    assert f'`{"ab" * 32}`' in text
    assert '| 2 | tree \\| bush | 2, 2, 3 |' in text
    assert '2 different names for 3 pseudo-classes' in text


def test_a_model_that_records_nothing_has_a_card(tmp_path):
    card = model_card(model(tmp_path))
    assert '| training data | not recorded |' in card
    assert '| network | not recorded |' in card
