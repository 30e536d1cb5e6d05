"""Features of segments: segments of one kind of object are close together.

There are two sources, both without labels: the embedded descriptor (see `descriptor`), and dense
features of a self-supervised backbone averaged inside each segment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from scipy import sparse

from drive_segment_ros.errors import DependencyError, ModelError
from drive_segment_ros.perception.resizing import resize_image
from offline_training.pseudo_labels.descriptor import Descriptor

_log = logging.getLogger(__name__)

# Weight of each group of features, independent of its number of columns. Height and size are the
# most informative; shape and intensity vary with range; colour separates objects of one shape;
# position has a low weight, so that classes do not depend on the location.
GROUP_WEIGHTS = {
    'size': 1.0,
    'shape': 0.4,
    'intensity': 0.4,
    'colour': 0.5,
    'texture': 0.3,
    'position': 0.2,
    'backbone': 1.0,
}
# Order of preference of `auto`, if the weights are on this machine.
BACKBONES = (
    'facebook/dinov3-vits16-pretrain-lvd1689m',
    'facebook/dinov2-small',
    'facebook/dino-vits16',
)


class Features(Protocol):
    """A source of segment features."""

    @property
    def name(self) -> str:
        """Its name for reports."""

    def __call__(
        self,
        image: NDArray[np.uint8],
        segment: NDArray[np.uint16],
        proposals: Mapping[str, NDArray[Any]],
    ) -> dict[str, NDArray[np.float32]]:
        """Describe a frame's P proposals.

        Args:
            image: (H, W, 3) uint8 BGR.
            segment: (h, w) uint16 proposal ids, 0 = none.
            proposals: arrays of P rows, with `id`.

        Returns:
            Columns by group of `GROUP_WEIGHTS`, each (P, D_group) float32; NaN is unknown.
        """


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A vision transformer that computes a feature for every patch of an image.

    Attributes:
        name: checkpoint name or folder.
        model: the transformers model, in evaluation mode.
        mean, std: colour statistics for normalisation, RGB 0..1.
    """

    name: str
    model: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self,
        image: NDArray[np.uint8],
        segment: NDArray[np.uint16],
        proposals: Mapping[str, NDArray[Any]],
    ) -> dict[str, NDArray[np.float32]]:
        """Average the backbone's patches inside each proposal, see `Features`."""
        height, width = segment.shape
        dense = self.dense(image, height, width)
        rows, columns, _ = dense.shape
        patch_row = np.arange(height) * rows // height
        patch_column = np.arange(width) * columns // width
        cells = patch_row[:, None] * columns + patch_column
        counts, pixels = _membership(segment, cells, rows * columns, proposals['id'])
        with np.errstate(invalid='ignore'):
            means = (counts @ dense.reshape(rows * columns, -1)) / pixels[:, None]
            means /= np.linalg.norm(means, axis=1, keepdims=True)
        return {'backbone': means}

    def dense(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
        """Return patch features (rows, columns, D) of a BGR image of about height x width."""
        import torch

        patch = self.model.config.patch_size
        rows, columns = max(round(height / patch), 1), max(round(width / patch), 1)
        resized = resize_image(image, rows * patch, columns * patch)
        rgb = torch.from_numpy(resized[..., ::-1].astype(np.float32) / 255.0)
        pixels = (rgb - torch.tensor(self.mean)) / torch.tensor(self.std)
        # ViT resizes its position embedding only on request; others always do, or have none.
        options = (
            {'interpolate_pos_encoding': True} if self.model.config.model_type == 'vit' else {}
        )
        try:
            with torch.no_grad():
                answer = self.model(pixels.permute(2, 0, 1)[None].float(), **options)
            tokens = answer.last_hidden_state
        except (AttributeError, TypeError, ValueError) as err:
            raise ModelError(f'{self.name} has no patch features: {err}') from err
        # Class and register tokens come first.
        if tokens.shape[1] < rows * columns:
            raise ModelError(f'{self.name} is not a vision transformer with one token per patch')
        return tokens[0, -rows * columns :].reshape(rows, columns, -1).float().numpy()


def _membership(
    segment: NDArray[np.uint16],
    cells: NDArray[np.integer],
    cell_count: int,
    ids: NDArray[np.integer],
) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Return the number of pixels of each segment in each cell, (P, cells), and in all, (P,)."""
    row_of_id = np.full(65536, -1, np.int64)
    row_of_id[ids] = np.arange(len(ids))
    rows = row_of_id[segment.ravel()]
    inside = rows >= 0
    counts = sparse.csr_matrix(
        (np.ones(int(inside.sum()), np.float32), (rows[inside], cells.ravel()[inside])),
        shape=(len(ids), cell_count),
    )
    return counts, np.bincount(rows[inside], minlength=len(ids)).astype(np.float32)


def load_backbone(name: str, local_only: bool = False) -> Backbone:
    """Load a backbone through transformers.

    Args:
        name: checkpoint name or local folder: ViT-DINO, DINOv2, DINOv3, or another ViT.
        local_only: whether to use only weights that are on this machine.

    Raises:
        DependencyError: if transformers is not installed.
        ModelError: if the checkpoint cannot be loaded.
    """
    try:
        from transformers import AutoModel
        from transformers.image_processing_base import ImageProcessingMixin
    except ImportError as err:
        raise DependencyError('backbones need transformers; pip install transformers') from err
    from offline_training.networks.segmenter import IMAGE_MEAN, IMAGE_STD

    try:
        with _quiet():
            model, told = AutoModel.from_pretrained(
                name, local_files_only=local_only, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as err:
        reason = ' '.join(str(err).split())
        raise ModelError(f'cannot load backbone {name!r}: {reason}') from err
    # Checkpoints may lack tensors that are not used here; other missing ones would be random.
    missing = sorted(
        key
        for key in told['missing_keys']
        if not key.startswith('pooler.') and 'mask_token' not in key
    )
    if missing:
        raise ModelError(
            f'the weights of {name} are incomplete: {len(missing)} tensors are missing, such as '
            f'{missing[0]}; download the checkpoint again'
        )
    if not hasattr(model.config, 'patch_size'):
        raise ModelError(
            f'{name} is not a vision transformer: its configuration has no patch_size'
        )
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(
            name, local_files_only=local_only
        )
    except OSError:
        settings = {}
    mean = tuple(settings.get('image_mean', IMAGE_MEAN))
    return Backbone(name, model.eval(), mean, tuple(settings.get('image_std', IMAGE_STD)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars and tables of transformers."""
    from transformers.utils import logging as printed

    verbosity, bars = printed.get_verbosity(), printed.is_progress_bar_enabled()
    printed.set_verbosity_error()
    printed.disable_progress_bar()
    try:
        yield
    finally:
        printed.set_verbosity(verbosity)
        if bars:
            printed.enable_progress_bar()


def choose_features(choice: str) -> Features:
    """Return the requested features.

    Args:
        choice: `descriptor`, a checkpoint name or folder, or `auto`: the first of `BACKBONES`
            whose weights are on this machine, else the descriptor; the log says which.
    """
    if choice == 'descriptor':
        return Descriptor()
    if choice != 'auto':
        return load_backbone(choice)
    for name in filter(_is_on_this_machine, BACKBONES):
        try:
            backbone = load_backbone(name, local_only=True)
        except (DependencyError, ModelError):
            continue
        _log.info('features: backbone %s, found on this machine', name)
        return backbone
    _log.info('features: the embedded descriptor; no backbone weights on this machine')
    return Descriptor()


def _is_on_this_machine(name: str) -> bool:
    """Return whether a checkpoint is a folder or in the hub's cache.

    Checked without transformers, whose import takes seconds.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:  # then transformers is not installed either
        return False
    return Path(name).is_dir() or isinstance(try_to_load_from_cache(name, 'config.json'), str)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Scales columns of different units: robust standardisation, weighted by group.

    Attributes:
        centre, scale: (D,) median and spread of each column.
        weight: (D,) of each column.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]

    @staticmethod
    def learn(groups: Mapping[str, NDArray[np.float32]]) -> Scaling:
        """Compute median and spread from all segments' columns."""
        values = np.hstack(list(groups.values()))
        values[:, np.isnan(values).all(axis=0)] = 0.0
        centre = np.nanmedian(values, axis=0)
        # The mean deviation instead of a quantile, which is zero for mostly constant columns.
        scale = np.nanmean(np.abs(values - centre), axis=0) * 1.25
        scale[scale < 1e-6] = 1.0
        weight = np.concatenate(
            [
                np.full(part.shape[1], GROUP_WEIGHTS[name] / part.shape[1] ** 0.5, np.float32)
                for name, part in groups.items()
            ]
        )
        return Scaling(centre.astype(np.float32), scale.astype(np.float32), weight)

    def apply(self, groups: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (P, D) float32 without NaN: unknown values become the median."""
        values = (np.hstack(list(groups.values())) - self.centre) / self.scale
        return np.clip(np.nan_to_num(values, nan=0.0), -3.0, 3.0) * self.weight

    def undone(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the columns from scaled values; clipped values cannot be restored."""
        return values / self.weight * self.scale + self.centre
