"""Augmentation of one training sample, drawn from a generator of its own.

Each sample's generator is seeded by the training's seed, its frame and its place in the training,
so it looks the same whichever process draws it and whenever training was resumed.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.resizing import resize_image, resize_labels

# The loss is taken on every TARGET_STRIDE-th pixel: neighbours say the same.
TARGET_STRIDE = 4


@dataclasses.dataclass(frozen=True)
class AugmentationParameters:
    """How far a sample may be changed."""

    smallest_crop: float = parameter(
        0.5, 'Smallest side of a crop, relative to the image; 1 keeps it whole.',
        minimum=0.1, maximum=1.0,
    )  # fmt: skip
    paste: float = parameter(
        1.0, "Share of a student's samples into which rare things of another frame are pasted.",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    flip: float = parameter(0.5, 'Share of samples mirrored.', minimum=0.0, maximum=1.0)
    brightness: float = parameter(
        0.3, 'Largest relative change of brightness and of contrast.', minimum=0.0, maximum=1.0
    )
    saturation: float = parameter(
        0.4, 'Largest relative change of saturation.', minimum=0.0, maximum=1.0
    )
    hue_deg: float = parameter(
        10.0, 'Largest turn of the hue.', unit='deg', minimum=0.0, maximum=180.0
    )


def augment(
    image: NDArray[np.uint8],
    regions: NDArray[np.int32],
    parameters: AugmentationParameters,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Crop, scale, mirror and recolour one sample.

    Args:
        image: (H, W, 3) uint8 RGB.
        regions: (H, W) int32.
        parameters: how far.
        random: the sample's own generator.

    Returns:
        image (H, W, 3) uint8 and regions (H / TARGET_STRIDE, W / TARGET_STRIDE) int32.
    """
    height, width = regions.shape
    # Both sides by one factor: shapes are kept, only their size changes.
    scale = random.uniform(parameters.smallest_crop, 1.0)
    crop_height, crop_width = round(height * scale), round(width * scale)
    top = int(random.integers(0, height - crop_height + 1))
    left = int(random.integers(0, width - crop_width + 1))
    window = (slice(top, top + crop_height), slice(left, left + crop_width))
    image = resize_image(image[window], height, width)
    regions = resize_labels(regions[window], height // TARGET_STRIDE, width // TARGET_STRIDE)
    if random.random() < parameters.flip:
        image, regions = image[:, ::-1], regions[:, ::-1]
    matrix = colour_matrix(parameters, random)
    recoloured = cv2.transform(np.ascontiguousarray(image), matrix)
    return np.asarray(recoloured, np.uint8), np.ascontiguousarray(regions)


def colour_matrix(
    parameters: AugmentationParameters, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw one affine map of RGB, (3, 4): brightness, contrast, saturation and hue changed."""
    contrast = 1.0 + random.uniform(-parameters.brightness, parameters.brightness)
    brightness = 1.0 + random.uniform(-parameters.brightness, parameters.brightness)
    saturation = 1.0 + random.uniform(-parameters.saturation, parameters.saturation)
    angle = np.deg2rad(random.uniform(-parameters.hue_deg, parameters.hue_deg))
    # Rotation about the grey axis turns the hue; what lies across that axis is the saturation.
    axis = np.full(3, 3.0**-0.5)
    turn, _ = cv2.Rodrigues(axis * angle)
    grey = np.outer(axis, axis)
    linear = contrast * (grey + saturation * (turn - grey))
    offset = np.full(3, 128.0 * (1.0 - contrast))
    return brightness * np.column_stack([linear, offset])
