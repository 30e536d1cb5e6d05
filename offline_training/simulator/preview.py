"""Preview pictures of a simulated drive: the image, its classes, and a top view of the sweep."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.simulator.cameras import Shot
from offline_training.simulator.lidars import Sweep
from offline_training.simulator.materials import CLASSES

# RGB, close to the familiar Cityscapes palette.
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
    """Return the colour of each class index, (256, 3) uint8 BGR; black for unused indices."""
    colours = np.zeros((256, 3), np.uint8)
    for name, (r, g, b) in _COLOURS.items():
        colours[CLASSES.index(name)] = b, g, r
    return colours


def preview_picture(shot: Shot, sweep: Sweep) -> NDArray[np.uint8]:
    """Return image, class overlay and top view of the sweep side by side, (H, 2 W + H, 3) BGR."""
    height, width = shot.semantic.shape
    classes = cv2.addWeighted(shot.image, 0.4, palette()[shot.semantic], 0.6, 0)
    # Draw the boundaries of instances, which may have the same class.
    number = shot.instance
    edge = np.zeros((height, width), bool)
    edge[:, 1:] |= number[:, 1:] != number[:, :-1]
    edge[1:] |= number[1:] != number[:-1]
    classes[edge] = 255
    return np.hstack([shot.image, np.asarray(classes, np.uint8), _from_above(sweep, height)])


def _from_above(sweep: Sweep, size: int) -> NDArray[np.uint8]:
    """Return a top view of a sweep's points, coloured by class, (size, size, 3) uint8 BGR.

    The LiDAR's x axis points up; higher points are drawn over lower ones, false echoes in white.
    """
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
