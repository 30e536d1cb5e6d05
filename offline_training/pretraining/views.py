"""Views of images: two large ones with masked patches, and some small ones."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drive_segment_ros.perception.resizing import resize_image
from offline_training.training.augmentation import AugmentationParameters, colour_matrix

# Ranges of the side of large and small views, relative to the image's shorter side.
_LARGE, _SMALL = (0.4, 1.0), (0.15, 0.4)
_MOST_HIDDEN = 0.5
# Masked patches form connected pieces, about this many per side.
_PIECES = 4
_COLOURS = AugmentationParameters(brightness=0.4, saturation=0.4, hue_deg=20.0)


@dataclasses.dataclass(frozen=True)
class Views:
    """Views of B images: first views of all, then second ones; small ones in rounds.

    Attributes:
        whole: (2 B, 3, H, W) float RGB 0..1.
        masked: (2 B, N) bool, patches that are hidden from the student.
        parts: (rounds * B, 3, h, w).
    """

    whole: Tensor
    masked: Tensor
    parts: Tensor


def draw_view(
    image: NDArray[np.uint8], shown: tuple[float, float], side: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a square out of an image, resize, mirror, recolour and sometimes blur it.

    Args:
        image: (H, W, 3) uint8 RGB.
        shown: smallest and largest side of the square, relative to the image's shorter side.
        side: of the view, px.
        random: generator of this sample.
    """
    height, width = image.shape[:2]
    cut = max(round(min(height, width) * random.uniform(*shown)), 1)
    top, left = int(random.integers(height - cut + 1)), int(random.integers(width - cut + 1))
    view = resize_image(image[top : top + cut, left : left + cut], side, side)
    if random.random() < 0.5:
        view = view[:, ::-1]
    matrix = colour_matrix(_COLOURS, random)
    view = np.asarray(cv2.transform(np.ascontiguousarray(view), matrix), np.uint8)
    if random.random() < 0.3:
        view = np.asarray(cv2.GaussianBlur(view, (0, 0), random.uniform(0.3, 1.5)), np.uint8)
    return view


def draw_mask(grid: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Hide up to half of a square grid of patches, in pieces; (grid * grid,) bool."""
    noise = random.random((_PIECES, _PIECES), np.float32)
    field = np.asarray(cv2.resize(noise, (grid, grid), interpolation=cv2.INTER_CUBIC)).ravel()
    hidden = np.zeros(grid * grid, bool)
    count = round(random.uniform(0.0, _MOST_HIDDEN) * grid * grid)
    hidden[np.argsort(field)[:count]] = True
    return hidden


def draw_views(
    images: list[NDArray[np.uint8]],
    randoms: list[np.random.Generator],
    side: int,
    rounds: int,
    patch: int,
) -> Views:
    """Draw the views of a step.

    Args:
        images: (H, W, 3) uint8 RGB each.
        randoms: a generator an image.
        side: of large views, px; small ones have half of it, in whole patches.
        rounds: small views an image.
        patch: px.
    """
    pairs = list(zip(images, randoms, strict=True))
    small = max(side // (2 * patch), 1) * patch
    whole = [draw_view(image, _LARGE, side, random) for _ in range(2) for image, random in pairs]
    masked = [draw_mask(side // patch, random) for _ in range(2) for _, random in pairs]
    parts = [
        draw_view(image, _SMALL, small, random) for _ in range(rounds) for image, random in pairs
    ]
    return Views(_as_tensor(whole), torch.from_numpy(np.stack(masked)), _as_tensor(parts))


def _as_tensor(views: list[NDArray[np.uint8]]) -> Tensor:
    scaled = np.divide(np.stack(views), np.float32(255.0), dtype=np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)
