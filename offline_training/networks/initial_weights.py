"""Initial encoder weights from a published backbone: ViT, DINO or DINOv2 through transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from drive_segment_ros.errors import ModelError
from offline_training.networks.encoder import resized_position
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter

# Name of a block's tensors here -> transformers' names, of version 5 and of version 4.
_BLOCK_NAMES = {
    'norm1': ('norm1', 'layernorm_before'),
    'norm2': ('norm2', 'layernorm_after'),
    'query': ('attention.q_proj', 'attention.attention.query'),
    'key': ('attention.k_proj', 'attention.attention.key'),
    'value': ('attention.v_proj', 'attention.attention.value'),
    'projection': ('attention.o_proj', 'attention.output.dense'),
    'mlp.0': ('mlp.fc1', 'intermediate.dense'),
    'mlp.2': ('mlp.fc2', 'output.dense'),
}


def network_from_backbone(
    backbone: Any,
    classes: int,
    height: int,
    width: int,
    position: str = 'grid',
    window: int = 0,
    detail: bool = False,
) -> Segmenter:
    """Build a Segmenter with the shape and weights of a backbone.

    With position `grid` and without a window its encoder computes the same as the backbone;
    otherwise it is initialised from it. The decoder is initialised randomly. DINOv2's layer scale
    is folded into the preceding projections.

    Args:
        backbone: a transformers ViTModel, Dinov2Model or Dinov2WithRegistersModel.
        classes: number of pseudo-classes.
        height, width: network input, px; the position embedding is resized to it.
        position: what the position embedding encodes, see `VisionTransformer`; that of a row is
            the mean of the backbone's embeddings in it.
        window: patches to each side that a patch sees; class token and registers, which see the
            whole image, are omitted then.
        detail: whether a finer map of the image, which starts at random, goes to the decoder.

    Raises:
        ModelError: for other kinds of backbone, or an input that does not fit its patch.
    """
    config = backbone.config
    if config.model_type not in ('vit', 'dinov2', 'dinov2_with_registers') or getattr(
        config, 'use_swiglu_ffn', False
    ):
        raise ModelError(
            f'initial weights from a {config.model_type!r} backbone of this shape are not '
            'supported; use a ViT, DINO or DINOv2 (small, base, large) checkpoint'
        )
    configuration = NetworkConfiguration(
        classes=classes,
        height=height,
        width=width,
        embedding=config.hidden_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        patch=config.patch_size,
        stem='patch+detail' if detail else 'patch',
        prefix=0 if window else 1 + getattr(config, 'num_register_tokens', 0),
        position=position,
        window=window,
    )
    network = Segmenter(configuration)
    try:
        weights = encoder_weights(backbone.state_dict(), configuration)
        untold = network.encoder.load_state_dict(weights, strict=False)
        if untold.unexpected_keys or any('stem.fine' not in key for key in untold.missing_keys):
            raise KeyError(*untold.unexpected_keys, *untold.missing_keys)
    except (KeyError, StopIteration, RuntimeError) as err:
        raise ModelError(
            f'initial weights from a {config.model_type!r} backbone of this shape are not '
            f'supported ({" ".join(str(err).split())[:200]}); use a published ViT, DINO or DINOv2'
        ) from err
    return network


def encoder_weights(
    theirs: Mapping[str, Tensor], configuration: NetworkConfiguration
) -> dict[str, Tensor]:
    """Translate a backbone's tensors to the encoder's names, position embedding resized."""
    embedded = theirs['embeddings.position_embeddings'].float()
    # Published backbones are trained on squares.
    side = round((embedded.shape[1] - 1) ** 0.5)
    rows, columns = configuration.grid
    places = resized_position(embedded[:, 1:], (side, side), (rows, columns))
    if configuration.position == 'rows':
        places = places.unflatten(1, (rows, columns)).mean(dim=2)
    ours = {
        'stem.projection.weight': theirs['embeddings.patch_embeddings.projection.weight'],
        'stem.projection.bias': theirs['embeddings.patch_embeddings.projection.bias'],
        'position': places,
        'norm.weight': theirs['layernorm.weight'],
        'norm.bias': theirs['layernorm.bias'],
    }
    if configuration.prefix:
        prefix = [theirs['embeddings.cls_token'].float() + embedded[:, :1]]
        if configuration.prefix > 1:
            prefix.append(theirs['embeddings.register_tokens'].float())
        ours['prefix'] = torch.cat(prefix, dim=1)
    for index in range(configuration.depth):
        ours.update(_block_weights(theirs, index))
    return ours


def _block_weights(theirs: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    stems = (f'encoder.layer.{index}.', f'layers.{index}.', f'layer.{index}.')
    stem = next(s for s in stems if any(name.startswith(s) for name in theirs))
    names = {
        ours: next(stem + name for name in candidates if stem + name + '.weight' in theirs)
        for ours, candidates in _BLOCK_NAMES.items()
    }
    block = {}
    for kind in ('weight', 'bias'):
        part = {ours: theirs[f'{name}.{kind}'].float() for ours, name in names.items()}
        for scale, scaled in (('layer_scale1', 'projection'), ('layer_scale2', 'mlp.2')):
            gamma = theirs.get(f'{stem}{scale}.lambda1')
            if gamma is not None:
                part[scaled] = part[scaled] * (gamma[:, None] if kind == 'weight' else gamma)
        qkv = torch.cat([part.pop('query'), part.pop('key'), part.pop('value')])
        block[f'attention.qkv.{kind}'] = qkv
        block[f'attention.projection.{kind}'] = part.pop('projection')
        block.update({f'{name}.{kind}': tensor for name, tensor in part.items()})
    return {f'blocks.{index}.{name}': tensor for name, tensor in block.items()}
