"""Preview pictures of a simulated drive: the image, its classes, the sweep from above."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.simulator.cameras import Shot
from offline_training.simulator.lidars import Sweep
from offline_training.simulator.materials import CLASSES

# Red, green, blue; near those of Cityscapes, which many know by heart.
_COLOURS = {
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'ground': (152, 251, 152),
    'vegetation': (107, 142, 35),
    'building': (90, 90, 90),
    'car': (0, 60, 220),
    'truck_bus': (0, 160, 200),
    'person': (220, 20, 60),
    'two_wheeler': (255, 120, 0),
    'sign': (250, 220, 0),
    'pole': (190, 190, 190),
    'fence': (190, 120, 80),
    'other_static': (150, 0, 90),
    'sky': (70, 150, 220),
}
_REACH_M = 45.0


def palette() -> NDArray[np.uint8]:
    """Return the colour of each class, (256, 3) BGR; black for those that are none."""
    colours = np.zeros((256, 3), np.uint8)
    for name, (r, g, b) in _COLOURS.items():
        colours[CLASSES.index(name)] = b, g, r
    return colours


def preview_picture(shot: Shot, sweep: Sweep) -> NDArray[np.uint8]:
    """Return image, classes laid over it, and the sweep from above, side by side (BGR)."""
    height, width = shot.semantic.shape
    classes = cv2.addWeighted(shot.image, 0.4, palette()[shot.semantic], 0.6, 0)
    # Edges between instances show which objects are told apart.
    number = shot.instance
    edge = np.zeros((height, width), bool)
    edge[:, 1:] |= number[:, 1:] != number[:, :-1]
    edge[1:] |= number[1:] != number[:-1]
    classes[edge] = 255
    return np.hstack([shot.image, np.asarray(classes, np.uint8), _from_above(sweep, height)])


def _from_above(sweep: Sweep, size: int) -> NDArray[np.uint8]:
    """Return the points by class, x of the LiDAR upwards, later and higher points on top."""
    picture = np.full((size, size, 3), 20, np.uint8)
    points = sweep.points
    near = np.flatnonzero(np.maximum(np.abs(points['x']), np.abs(points['y'])) < _REACH_M)
    near = near[np.argsort(points['z'][near], kind='stable')]
    scale = (size - 1) / (2 * _REACH_M)
    row = ((_REACH_M - points['x'][near]) * scale).astype(int)
    column = ((_REACH_M - points['y'][near]) * scale).astype(int)
    semantic = sweep.semantic[near]
    colours = palette()[semantic]
    colours[semantic == IGNORE_LABEL] = 255
    picture[row, column] = colours
    return picture
