import logging

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import ModelError
from offline_training.pseudo_labels import features
from offline_training.pseudo_labels.descriptor import GEOMETRY, Descriptor, segment_means, texture
from offline_training.pseudo_labels.features import (
    Backbone,
    Scaling,
    choose_features,
    load_backbone,
)

PROPOSALS = {
    'id': np.array([3, 7], np.uint16),
    'kind': np.array([0, 1], np.uint8),
    'points': np.array([10, 10], np.int32),
    'height_max': np.array([1.5, 0.1], np.float32),
}


def frame():
    """Return an image, red left (segment 3) and striped right (7), with a gap between segments."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24] = (0, 0, 200)
    image[:, 24::8] = 255
    image[:, 25::8] = 255
    segment = np.zeros((16, 24), np.uint16)
    segment[:, :11] = 3
    segment[:, 13:] = 7
    return image, segment


def save_backbone(folder, kind):
    import torch
    import transformers

    shape = {'hidden_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2}
    shape |= {'image_size': 32, 'patch_size': 8}
    torch.manual_seed(0)
    if kind == 'vit':
        config = transformers.ViTConfig(intermediate_size=32, **shape)
        transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    elif kind == 'dinov2':
        config = transformers.Dinov2Config(**shape)
        transformers.Dinov2Model(config).save_pretrained(folder)
    else:
        config = transformers.DINOv3ViTConfig(intermediate_size=32, num_register_tokens=2, **shape)
        transformers.DINOv3ViTModel(config).save_pretrained(folder)


def test_segment_means_are_the_means_of_each_segments_pixels():
    random = np.random.default_rng(0)
    segment = random.integers(0, 4, (9, 7)).astype(np.uint16)
    lab = random.random((9, 7, 3)).astype(np.float32)
    layers = random.normal(size=(6, 9, 7)).astype(np.float32)
    ids = np.array([3, 1, 9])

    means = segment_means(lab, layers, segment, ids)

    y, x = np.mgrid[0:9, 0:7]
    values = np.dstack([lab, lab**2, np.abs(layers).transpose(1, 2, 0), y / 9, x / 7])
    for row, number in enumerate(ids[:2]):
        assert means[row] == pytest.approx(values[segment == number].mean(axis=0))
    assert np.isnan(means[2]).all()


def test_texture_is_gradients_and_detail_at_two_scales():
    lightness = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    coarse = cv2.GaussianBlur(lightness, (0, 0), 2.0)

    layers = texture(lightness)

    for scale, image in enumerate((lightness, coarse)):
        expected = (
            cv2.Sobel(image, cv2.CV_32F, 1, 0),
            cv2.Sobel(image, cv2.CV_32F, 0, 1),
            cv2.Laplacian(image, cv2.CV_32F),
        )
        assert (layers[3 * scale : 3 * scale + 3] == expected).all()


def test_the_descriptor_sees_colour_texture_and_geometry():
    image, segment = frame()

    groups = Descriptor()(image, segment, PROPOSALS)

    assert groups['colour'][0, 1] > 50 > abs(groups['colour'][1, 1])  # red: large a* in CIELAB
    assert groups['texture'][1, 0] > groups['texture'][0, 0]
    column = list(GEOMETRY['size']).index('height_max')
    assert groups['size'][:, column] == pytest.approx(np.log1p([1.5, 0.1]))
    assert np.isnan(groups['size'][:, 0]).all()  # the proposals have no height_min


def test_unknown_geometry_counts_as_usual():
    groups = {'size': np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]], np.float32)}

    values = Scaling.learn(groups).apply(groups)

    assert np.isfinite(values).all()
    assert values[2].tolist() == [0.0, 0.0]
    assert values[0, 0] < 0.0 < values[1, 0]


def test_units_do_not_matter():
    random = np.random.default_rng(0)
    metres = {'size': random.random((50, 3)).astype(np.float32)}
    mixed = {'size': metres['size'] * np.array([1, 1000, 1e-3], np.float32)}

    a, b = Scaling.learn(metres).apply(metres), Scaling.learn(mixed).apply(mixed)

    assert a == pytest.approx(b, abs=1e-3)


@pytest.mark.parametrize('kind', ['vit', 'dinov2', 'dinov3'])
def test_a_backbone_is_averaged_inside_segments(tmp_path, kind):
    save_backbone(tmp_path, kind)
    backbone = load_backbone(str(tmp_path))
    image, segment = frame()
    whole = np.ones((16, 24), np.uint16)

    groups = backbone(image, segment, PROPOSALS)
    one = {'id': np.array([1]), 'kind': np.array([0])}
    mean = backbone(image, whole, one)['backbone'][0]

    dense = backbone.dense(image, 16, 24)
    assert dense.shape == (2, 3, 16)
    expected = dense.reshape(6, 16).mean(axis=0)
    assert mean == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert groups['backbone'].shape == (2, 16)
    assert np.linalg.norm(groups['backbone'], axis=1) == pytest.approx([1.0, 1.0])
    # Segment 3 covers the first patch column and three of eight pixels of the second.
    weight = np.repeat([[8, 3, 0]], 2, axis=0).reshape(6, 1)
    left = (dense.reshape(6, 16) * weight).sum(axis=0)
    assert groups['backbone'][0] == pytest.approx(left / np.linalg.norm(left), abs=1e-5)


def test_a_backbone_is_loaded_without_a_word(tmp_path, capfd):
    save_backbone(tmp_path, 'vit')
    capfd.readouterr()
    load_backbone(str(tmp_path))
    assert capfd.readouterr() == ('', '')


def test_a_backbone_without_some_of_its_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_backbone(tmp_path, 'vit')
    weights = load_file(tmp_path / 'model.safetensors')
    del weights[next(name for name in weights if 'intermediate' in name)]
    save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(ModelError, match='incomplete: 1 tensors are missing, such as'):
        load_backbone(str(tmp_path))


def test_auto_takes_the_backbone_at_hand_and_says_so(tmp_path, monkeypatch, caplog):
    save_backbone(tmp_path, 'vit')
    monkeypatch.setattr(features, 'BACKBONES', ('nobody/has-this', str(tmp_path)))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')

    with caplog.at_level(logging.INFO):
        chosen = choose_features('auto')

    assert isinstance(chosen, Backbone)
    assert str(tmp_path) in caplog.text


def test_auto_falls_back_to_the_descriptor_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(features, 'BACKBONES', ('nobody/has-this',))

    with caplog.at_level(logging.INFO):
        chosen = choose_features('auto')

    assert isinstance(chosen, Descriptor)
    assert 'descriptor' in caplog.text


def test_a_backbone_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ModelError, match='cannot load backbone') as caught:
        load_backbone(str(tmp_path / 'missing'), local_only=True)

    assert '\n' not in str(caught.value)
