"""The legend of a label picture: what its colours mean, as data and drawn below it."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR, UNKNOWN_NAME
from drive_segment_ros.perception.distinct_colours import Colour

_GROUND, _TEXT, _OUTLINE = 28, (240, 240, 240), (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of an upper-case letter at scale 1, px.
_LETTER = 21.0
_SMALLEST_LETTER, _LETTERS_ACROSS = 8.0, 130.0


class NamedColour(Protocol):
    """A class, such as of a model or of `classes.yaml`."""

    @property
    def name(self) -> str:
        """Free text."""

    @property
    def color(self) -> Colour:
        """Red, green, blue."""


@dataclasses.dataclass(frozen=True)
class LegendEntry:
    """What one colour means.

    Attributes:
        name: of the class, or `unknown`.
        color: red, green, blue.
        share: of the pixels, 0 to 1.
        numbers: the pseudo-classes of that name and colour; none for unknown pixels.
    """

    name: str
    color: Colour
    share: float
    numbers: tuple[int, ...] = ()


def count_labels(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of pixels of each label, (256,); counts of pictures can be added."""
    return np.bincount(label.ravel(), minlength=IGNORE_LABEL + 1)


def legend(counts: NDArray[np.int64], classes: Sequence[NamedColour]) -> list[LegendEntry]:
    """Return an entry for each colour in label pictures, by decreasing share, unknown last.

    The colours are those of `colour_image` with the `colour_table` of the classes.

    Args:
        counts: see `count_labels`.
        classes: what labels mean; others are unknown.
    """
    total = max(int(counts.sum()), 1)
    numbers: dict[tuple[str, Colour], list[int]] = {}
    for number, item in enumerate(classes):
        if number < IGNORE_LABEL and counts[number]:
            numbers.setdefault((item.name, item.color), []).append(number)
    entries = [
        LegendEntry(name, color, float(counts[of].sum() / total), tuple(of))
        for (name, color), of in numbers.items()
    ]
    entries.sort(key=lambda entry: -entry.share)
    unknown = counts.sum() - counts[: min(len(classes), IGNORE_LABEL)].sum()
    if unknown:
        entries.append(LegendEntry(UNKNOWN_NAME, UNKNOWN_COLOUR, float(unknown / total)))
    return entries


def with_legend(picture: NDArray[np.uint8], entries: Sequence[LegendEntry]) -> NDArray[np.uint8]:
    """Return a picture with a legend below it.

    Args:
        picture: (H, W, 3) uint8 BGR.
        entries: from `legend`, or others that mean something in it.

    Returns:
        (H + h, W, 3) uint8 BGR; without entries the picture itself.
    """
    if not entries:
        return picture
    return np.concatenate([picture, draw_legend(entries, picture.shape[1])])


def draw_legend(entries: Sequence[LegendEntry], width: int) -> NDArray[np.uint8]:
    """Return a legend by itself, (h, width, 3) uint8 BGR: a patch and a name for each entry."""
    letter = max(_SMALLEST_LETTER, width / _LETTERS_ACROSS)
    scale, line = letter / _LETTER, max(1, round(letter / 9))
    pad, patch, step = round(0.7 * letter), round(1.3 * letter), round(2.4 * letter)
    longest = max(4, int((width - patch - 3 * pad) / letter))
    texts = [_shortened(_plain(entry.name), longest) for entry in entries]
    sizes = [cv2.getTextSize(text, _FONT, scale, line)[0][0] for text in texts]
    places, x, row = [], pad, 0
    for size in sizes:
        needed = patch + pad + size
        if x > pad and x + needed + pad > width:
            x, row = pad, row + 1
        places.append((x, row))
        x += needed + 2 * pad
    canvas: Any = np.full(((row + 1) * step + pad, width, 3), _GROUND, np.uint8)
    for entry, text, (left, row) in zip(entries, texts, places, strict=True):
        top = pad // 2 + row * step + (step - patch) // 2
        corner = (left + patch - 1, top + patch - 1)
        cv2.rectangle(canvas, (left, top), corner, entry.color[::-1], cv2.FILLED)
        cv2.rectangle(canvas, (left - 1, top - 1), (corner[0] + 1, corner[1] + 1), _OUTLINE, 1)
        base = (left + patch + pad, round(top + patch / 2 + letter / 2))
        cv2.putText(canvas, text, base, _FONT, scale, _TEXT, line, cv2.LINE_AA)
    return np.asarray(canvas, np.uint8)


def _plain(name: str) -> str:
    """Return a name in the letters that OpenCV can draw."""
    parts = unicodedata.normalize('NFKD', name)
    plain = ''.join(letter for letter in parts if not unicodedata.combining(letter))
    return plain.encode('ascii', 'replace').decode()


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f'{text[: longest - 2]}..'
