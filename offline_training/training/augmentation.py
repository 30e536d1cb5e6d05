"""Augmentation of one training sample, with a separate random generator for each sample.

The generator is seeded by the training's seed, the sample's frame and its position in the
training, so that a sample is the same in any process and after a resumed training.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.resizing import resize_image, resize_labels

# The loss is taken on every TARGET_STRIDE-th pixel: neighbours are redundant.
TARGET_STRIDE = 4
# Erased rectangles: most of them, smallest and largest share of the image each, and the largest
# logarithm of height by width.
_MOST_ERASED, _ERASED_SHARE, _ERASED_ASPECT = 3, (0.02, 0.15), 1.0
# Standard deviations of blur, px, and of noise, grey levels.
_MOST_BLUR_PX = 1.5
_MOST_NOISE = 10.0


@dataclasses.dataclass(frozen=True)
class AugmentationParameters:
    """Parameters of augmentation."""

    smallest_crop: float = parameter(
        0.5, 'Smallest side of a crop, relative to the image; 1 keeps it whole.',
        minimum=0.1, maximum=1.0,
    )  # fmt: skip
    paste: float = parameter(
        1.0,
        "Share of a student's samples into which objects of rare classes are pasted, from frames "
        'of the same camera.',
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
        10.0, 'Largest rotation of the hue.', unit='deg', minimum=0.0, maximum=180.0
    )
    gamma: float = parameter(
        0.6, 'Largest change of gamma, as a power of two: exposure and tone curve.',
        minimum=0.0, maximum=3.0,
    )  # fmt: skip
    white_balance: float = parameter(
        0.15, 'Largest relative change of one colour against the others.', minimum=0.0, maximum=0.9
    )
    shading: float = parameter(
        0.8,
        'Largest spatial change of brightness, as a power of two: shade and glare.',
        minimum=0.0,
        maximum=3.0,
    )
    degraded: float = parameter(
        0.3, 'Share of samples that are out of focus or noisy.', minimum=0.0, maximum=1.0
    )
    erase: float = parameter(
        0.5,
        'Share of samples in which up to three rectangles are filled with one colour each; what '
        'they hide is still learned, from what is around.',
        minimum=0.0,
        maximum=1.0,
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
        parameters: strength of the augmentation.
        random: generator of this sample.

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
    image = _change_appearance(np.ascontiguousarray(image), parameters, random)
    # No random numbers are drawn if erasing is off.
    if parameters.erase > 0.0 and random.random() < parameters.erase:
        _erase(image, random)
    return image, np.ascontiguousarray(regions)


def _change_appearance(
    image: NDArray[np.uint8], parameters: AugmentationParameters, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Change an image's colours, brightness and sharpness.

    The cameras of one car differ in all of these: a network trained without this on one camera
    associates dark and uniform regions with the class that they have in that camera's images.
    """
    changed: NDArray[Any] = cv2.transform(image, colour_matrix(parameters, random))
    changed = cv2.LUT(changed, _tone_curves(parameters, random))
    if parameters.shading > 0.0:
        changed = cv2.multiply(
            changed, _shade(changed.shape, parameters.shading, random), dtype=cv2.CV_8U
        )
    if random.random() < parameters.degraded:
        if random.random() < 0.5:
            changed = cv2.GaussianBlur(changed, (0, 0), random.uniform(0.3, _MOST_BLUR_PX))
        else:
            noise = random.standard_normal(changed.shape, np.float32)
            noise *= np.float32(random.uniform(0.0, _MOST_NOISE))
            changed = cv2.add(changed, noise, dtype=cv2.CV_8U)
    return np.asarray(changed, np.uint8)


def _erase(image: NDArray[np.uint8], random: np.random.Generator) -> None:
    """Fill rectangles of an image, as Random Erasing (Zhong et al., AAAI 2020, arXiv 1708.04896).

    The network must then recognise objects by more than a single detail.
    """
    height, width = image.shape[:2]
    for _ in range(int(random.integers(1, _MOST_ERASED + 1))):
        area = random.uniform(*_ERASED_SHARE) * height * width
        ratio = np.exp(random.uniform(-_ERASED_ASPECT, _ERASED_ASPECT))
        rows = min(int(np.sqrt(area * ratio)), height - 1)
        columns = min(int(np.sqrt(area / ratio)), width - 1)
        top, left = (
            int(random.integers(0, height - rows)),
            int(random.integers(0, width - columns)),
        )
        colour = random.integers(0, 256, 3, dtype=np.uint8)
        image[top : top + rows, left : left + columns] = colour


def _tone_curves(
    parameters: AugmentationParameters, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw a random tone curve: a lookup table of red, green and blue, (1, 256, 3)."""
    power = 2.0 ** random.uniform(-parameters.gamma, parameters.gamma)
    gains = 1.0 + random.uniform(-parameters.white_balance, parameters.white_balance, 3)
    curves = 255.0 * np.linspace(0.0, 1.0, 256)[:, None] ** power * gains
    return np.clip(curves.round(), 0, 255).astype(np.uint8)[None]


def _shade(
    shape: tuple[int, ...], most: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a smooth factor of brightness, (H, W, 3): patches of half to an eighth of a side."""
    cells = 2 ** int(random.integers(1, 4))
    strength = random.uniform(0.0, most)
    field = strength * random.uniform(-1.0, 1.0, (cells, cells + 1)).astype(np.float32)
    gain = cv2.exp(np.log(2.0) * cv2.resize(field, shape[1::-1], interpolation=cv2.INTER_CUBIC))
    return np.asarray(cv2.merge([gain] * 3))


def colour_matrix(
    parameters: AugmentationParameters, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw one affine map of RGB, (3, 4): brightness, contrast, saturation and hue changed."""
    contrast = 1.0 + random.uniform(-parameters.brightness, parameters.brightness)
    brightness = 1.0 + random.uniform(-parameters.brightness, parameters.brightness)
    saturation = 1.0 + random.uniform(-parameters.saturation, parameters.saturation)
    angle = np.deg2rad(random.uniform(-parameters.hue_deg, parameters.hue_deg))
    # A rotation about the grey axis changes hue; scaling across that axis changes saturation.
    axis = np.full(3, 3.0**-0.5)
    turn, _ = cv2.Rodrigues(axis * angle)
    grey = np.outer(axis, axis)
    linear = contrast * (grey + saturation * (turn - grey))
    offset = np.full(3, 128.0 * (1.0 - contrast))
    return brightness * np.column_stack([linear, offset])
