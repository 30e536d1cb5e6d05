import dataclasses

import numpy as np
import pytest
import torch

from drive_segment_ros.errors import ModelError
from offline_training.networks.blocks import Attention, Neighbourhood, Part
from offline_training.networks.decoder import MaskTransformer
from offline_training.networks.encoder import VisionTransformer, resized_position
from offline_training.networks.initial_weights import network_from_backbone
from offline_training.networks.segmenter import (
    SIZES,
    NetworkConfiguration,
    Segmenter,
    configuration,
)
from offline_training.pseudo_labels.features import load_backbone
from offline_training.training.train import TrainParameters, new_network


@pytest.mark.parametrize('stem', ['conv', 'patch', 'patch+detail'])
def test_any_multiple_of_the_patch_is_scored_at_its_own_size(stem):
    network = Segmenter(NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2, stem=stem))

    for height, width in ((32, 48), (64, 32), (16, 16)):
        assert network.probability(torch.rand(2, 3, height, width)).shape == (2, 5, height, width)


@pytest.mark.parametrize('size', SIZES)
def test_sizes_are_what_their_names_say(size):
    parameters = sum(p.numel() for p in Segmenter(configuration(size, 30, 288, 512)).parameters())

    low, high = {'tiny': (4e6, 6e6), 'small': (22e6, 27e6), 'base': (88e6, 100e6)}[size]
    assert low < parameters < high


def test_a_class_that_training_never_showed_is_never_an_answer():
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2)).eval()
    supported = torch.tensor([True, True, False, True, False])
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        # Bias the decoder towards classes 2 and 4, which are not supported.
        network.decoder.mask_norm.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0, 9.0]))
        assert set(network.probability(image).argmax(dim=1).unique().tolist()) <= {2, 4}
        network.restrict(supported)
        probability = network.probability(image)

    assert (probability[:, ~supported] == 0.0).all()
    assert torch.allclose(probability.sum(dim=1), torch.ones(1, 32, 48), atol=1e-5)
    assert set(probability.argmax(dim=1).unique().tolist()) <= {0, 1, 3}


def test_an_input_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(ModelError, match='multiple of its patch'):
        configuration('tiny', 30, 290, 512)


def test_an_unknown_size_is_refused():
    with pytest.raises(ModelError, match='tiny, small, base'):
        configuration('huge', 30, 288, 512)


def test_an_image_scores_alike_alone_and_in_a_batch():
    network = Segmenter(NetworkConfiguration(5, 32, 48, 32, depth=1, heads=2)).eval()
    images = torch.rand(3, 3, 32, 48)

    with torch.no_grad():
        together, alone = network(images)[1:2], network(images[1:2])

    assert torch.allclose(together, alone, atol=1e-5)


def test_resizing_a_position_embedding_to_its_own_grid_changes_nothing():
    position = torch.rand(1, 12, 8)

    assert torch.allclose(resized_position(position, (3, 4), (3, 4)), position, atol=1e-6)
    assert resized_position(position, (3, 4), (6, 8)).shape == (1, 48, 8)


def save_backbone(folder, kind, **changes):
    import transformers

    shape = {'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2}
    shape |= {'image_size': 32, 'patch_size': 8}
    torch.manual_seed(0)
    if kind == 'vit':
        config = transformers.ViTConfig(**{'intermediate_size': 128, **shape, **changes})
        model = transformers.ViTModel(config, add_pooling_layer=False)
    elif kind == 'dinov2':
        model = transformers.Dinov2Model(transformers.Dinov2Config(layerscale_value=0.7, **shape))
    elif kind == 'dinov2_with_registers':
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=3, **shape)
        model = transformers.Dinov2WithRegistersModel(config)
    else:
        config = transformers.DINOv3ViTConfig(intermediate_size=64, num_register_tokens=2, **shape)
        model = transformers.DINOv3ViTModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)


@pytest.mark.parametrize('kind', ['vit', 'dinov2', 'dinov2_with_registers'])
def test_an_encoder_with_a_backbones_weights_computes_what_the_backbone_computes(tmp_path, kind):
    save_backbone(tmp_path, kind)
    backbone = load_backbone(str(tmp_path)).model
    network = network_from_backbone(backbone, 5, 32, 32).eval()
    image = torch.randn(1, 3, 32, 32)

    with torch.no_grad():
        ours, _ = network.encoder(image)
        theirs = backbone(image).last_hidden_state[:, -16:]

    assert torch.allclose(ours.flatten(2).transpose(1, 2), theirs, atol=1e-4)


def test_a_backbone_starts_a_network_of_another_input_size(tmp_path):
    save_backbone(tmp_path, 'vit')

    network = network_from_backbone(load_backbone(str(tmp_path)).model, 5, 24, 40)

    assert network.probability(torch.rand(1, 3, 24, 40)).shape == (1, 5, 24, 40)


@pytest.mark.parametrize('kind', ['vit', 'dinov2_with_registers'])
def test_rows_and_window_hold_for_an_encoder_with_a_backbones_weights(tmp_path, kind):
    save_backbone(tmp_path, kind)
    backbone = load_backbone(str(tmp_path)).model

    network = network_from_backbone(backbone, 5, 32, 40, position='rows', window=1).eval()
    whole = network_from_backbone(backbone, 5, 32, 40)

    assert (network.configuration.position, network.configuration.window) == ('rows', 1)
    places = whole.encoder.position.unflatten(1, (4, 5))
    assert torch.allclose(network.encoder.position, places.mean(dim=2), atol=1e-6)
    blocks = network.encoder.blocks.state_dict()
    assert all(
        torch.equal(blocks[name], value)
        for name, value in whole.encoder.blocks.state_dict().items()
    )
    # The first patch changes; two blocks with window 1 pass that on by two patches.
    image, other = torch.zeros(2, 1, 3, 32, 40)
    other[..., :8] = 1.0
    with torch.no_grad():
        changed = (network.encoder(image)[0] - network.encoder(other)[0]).abs().amax(dim=(0, 1, 2))
    assert (changed > 0.0).tolist() == [True, True, True, False, False]


def test_training_takes_its_parameters_to_what_it_starts_from(tmp_path):
    save_backbone(tmp_path, 'vit')
    own = TrainParameters(initial_weights=str(tmp_path))
    published = dataclasses.replace(own, position='grid', window=0, detail=False)

    ours = new_network(own, 5, 32, 32).configuration
    theirs = new_network(published, 5, 32, 32).configuration

    assert (ours.position, ours.window, ours.prefix, ours.stem) == ('rows', 3, 0, 'patch+detail')
    assert (theirs.position, theirs.window, theirs.prefix, theirs.stem) == ('grid', 0, 1, 'patch')


def test_detail_beside_a_backbones_weights_makes_scores_finer(tmp_path):
    save_backbone(tmp_path, 'vit')
    backbone = load_backbone(str(tmp_path)).model
    network = network_from_backbone(backbone, 5, 32, 40, detail=True).eval()
    image = torch.randn(1, 3, 32, 40)

    with torch.no_grad():
        tokens, detail = network.encoder(image)
        theirs = backbone(image, interpolate_pos_encoding=True).last_hidden_state[:, -20:]
        scores = network(image)

    assert torch.allclose(tokens.flatten(2).transpose(1, 2), theirs, atol=1e-4)
    assert detail.shape[-2:] == scores.shape[-2:] == (8, 10)


def test_a_backbone_of_another_kind_is_refused(tmp_path):
    save_backbone(tmp_path, 'dinov3')

    with pytest.raises(ModelError, match='dinov3_vit'):
        network_from_backbone(load_backbone(str(tmp_path)).model, 5, 32, 32)


@pytest.mark.parametrize('changes', [{'intermediate_size': 64}, {'qkv_bias': False}])
def test_a_backbone_of_another_shape_is_refused(tmp_path, changes):
    save_backbone(tmp_path, 'vit', **changes)

    with pytest.raises(ModelError, match='of this shape are not supported') as error:
        network_from_backbone(load_backbone(str(tmp_path)).model, 5, 32, 32)
    assert '\n' not in str(error.value)


def test_a_network_brings_colours_to_what_its_backbone_expects(tmp_path):
    save_backbone(tmp_path, 'vit')
    settings = '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.1, 0.3]}'
    (tmp_path / 'preprocessor_config.json').write_text(settings)

    network = new_network(TrainParameters(initial_weights=str(tmp_path)), 5, 32, 32)
    kept = network.state_dict()

    assert kept['image_mean'].flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert kept['image_std'].flatten().tolist() == pytest.approx([0.2, 0.1, 0.3])


def changed_patches(network: Segmenter, patch: int) -> list[int]:
    """Return the patches of a one-row image whose scores change when `patch` is black."""
    torch.manual_seed(1)
    width = network.configuration.width
    image = torch.rand(1, 3, 16, width)
    other = image.clone()
    other[..., 16 * patch : 16 * patch + 16] = 0.0
    with torch.no_grad():
        changed = (network(image) - network(other)).abs().amax(dim=(0, 1, 2))
    return np.flatnonzero(changed.numpy() > 0.0).tolist()


def test_a_patch_sees_as_far_as_the_windows_of_its_blocks():
    torch.manual_seed(0)
    near = NetworkConfiguration(4, 16, 480, 32, depth=2, heads=2, stem='patch', window=2)
    everywhere = dataclasses.replace(near, window=0)

    # Window 2 in two encoder blocks and one decoder block reaches six patches to each side.
    assert changed_patches(Segmenter(near).eval(), 15) == list(range(9, 22))
    assert changed_patches(Segmenter(everywhere).eval(), 15) == list(range(30))


def test_what_a_class_looks_like_does_not_hang_on_the_image():
    torch.manual_seed(0)
    decoder = MaskTransformer(4, 32, 2, grid=(2, 3), window=1)
    seen = []
    decoder.class_projection.register_forward_hook(lambda module, args, out: seen.append(out))
    detail = torch.rand(1, 64, 8, 12)

    for patches in torch.rand(2, 1, 32, 2, 3):
        decoder(patches, detail)

    assert torch.equal(seen[0], seen[1])
    decoder.neighbourhood = Neighbourhood((2, 3), 0, 4)
    for patches in torch.rand(2, 1, 32, 2, 3):
        decoder(patches, detail)
    assert not torch.allclose(seen[2], seen[3])


def seen_by(parts, count):
    """Return which tokens each token attends to, (count, count) bool, by `Attention`'s parts."""
    seen = torch.zeros(count, count, dtype=torch.bool)
    for part in parts:
        keys = torch.cat([torch.arange(count)[one] for one in part.keys])
        seen[part.queries, keys] = part.bias == 0.0
    return seen.numpy()


def test_patches_see_those_within_the_window_and_all_classes():
    parts = Neighbourhood((3, 4), 1, classes=2)(3, 4)
    seen = seen_by(parts, 14)

    middle = seen[5, :12].reshape(3, 4)
    assert middle.tolist() == [[True] * 3 + [False]] * 3
    assert seen[:12, 12:].all()
    assert not seen[12:, :12].any()
    assert seen[12:, 12:].all()
    assert all((part.bias[part.bias != 0.0] < -1e3).all() for part in parts)


def test_rows_are_attended_to_in_parts_as_all_together():
    torch.manual_seed(0)
    attention = Attention(16, 2)
    tokens = torch.randn(2, 9 * 4 + 3, 16)
    parts = Neighbourhood((9, 4), 1, classes=3)(9, 4)
    row, column = torch.arange(36) // 4, torch.arange(36) % 4
    seen = torch.ones(39, 39, dtype=torch.bool)
    near = (row[:, None] - row).abs().le(1) & (column[:, None] - column).abs().le(1)
    seen[:36, :36] = near
    seen[36:, :36] = False
    everywhere = slice(0, tokens.shape[1])
    together = [Part(everywhere, (everywhere,), torch.where(seen, 0.0, -1e4))]

    assert len(parts) > 3
    assert max(part.bias.numel() for part in parts) < seen.numel() / 4
    assert torch.allclose(attention(tokens, parts), attention(tokens, together), atol=1e-6)


def test_an_image_of_another_size_has_a_neighbourhood_of_its_own():
    neighbourhood = Neighbourhood((3, 4), 1)

    other = Neighbourhood((2, 5), 1)(2, 5)
    assert (seen_by(neighbourhood(2, 5), 10) == seen_by(other, 10)).all()
    assert Neighbourhood((3, 4), 0)(2, 5) is None


def test_a_position_by_rows_is_the_same_from_left_to_right():
    encoder = VisionTransformer((3, 5), 16, 1, 2, position='rows')

    assert encoder.position.shape == (1, 3, 16)
    position = encoder._position(3, 5).unflatten(1, (3, 5))
    assert torch.equal(position, position[:, :, :1].expand(-1, -1, 5, -1))
    assert not torch.allclose(position[:, 0], position[:, 1])
    assert encoder._position(6, 2).shape == (1, 12, 16)


def test_tokens_before_the_patches_ask_for_the_whole_image():
    with pytest.raises(ModelError, match='leave window at 0'):
        NetworkConfiguration(4, 32, 32, 16, 1, 2, stem='patch', prefix=1, window=2)
