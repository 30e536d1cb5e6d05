"""The colours of classes: Cityscapes' for its names, distinct ones for others, grey for unknown.

Colours are in the order red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence

from drive_segment_ros.perception.distinct_colours import Colour, distinct_colours

UNKNOWN_NAME = 'unknown'
UNKNOWN_COLOUR: Colour = (200, 200, 200)

# cityscapesScripts, helpers/labels.py.
CITYSCAPES: dict[str, Colour] = {
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'parking': (250, 170, 160),
    'rail track': (230, 150, 140),
    'building': (70, 70, 70),
    'wall': (102, 102, 156),
    'fence': (190, 153, 153),
    'guard rail': (180, 165, 180),
    'bridge': (150, 100, 100),
    'tunnel': (150, 120, 90),
    'pole': (153, 153, 153),
    'traffic light': (250, 170, 30),
    'traffic sign': (220, 220, 0),
    'vegetation': (107, 142, 35),
    'terrain': (152, 251, 152),
    'sky': (70, 130, 180),
    'person': (220, 20, 60),
    'rider': (255, 0, 0),
    'car': (0, 0, 142),
    'truck': (0, 0, 70),
    'bus': (0, 60, 100),
    'caravan': (0, 0, 90),
    'trailer': (0, 0, 110),
    'train': (0, 80, 100),
    'motorcycle': (0, 0, 230),
    'bicycle': (119, 11, 32),
}


def class_colours(names: Sequence[str]) -> list[Colour]:
    """Return a colour for each class; classes of one name share it.

    Args:
        names: of the classes. That of a class of Cityscapes has its colour; any other class has
            that of its number, whatever the others are called.
    """
    unnamed = unnamed_colours(len(names))
    colour_of: dict[str, Colour] = {}
    return [
        colour_of.setdefault(name, CITYSCAPES.get(_key(name), unnamed[number]))
        for number, name in enumerate(names)
    ]


def unnamed_colours(count: int) -> list[Colour]:
    """Return colours for classes without a name, see `distinct_colours`."""
    return list(distinct_colours(count, UNKNOWN_COLOUR, tuple(CITYSCAPES.values())))


def _key(name: str) -> str:
    return ' '.join(name.lower().replace('_', ' ').replace('-', ' ').split())
