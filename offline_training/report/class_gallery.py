"""The gallery of pseudo-classes: a picture and statistics of each, as a help to name it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import is_there, read_whole
from offline_training.common.classes import CLASSES_FILE, ClassName, load_classes
from offline_training.pseudo_labels.gallery import GALLERY_FOLDER, picture_name
from offline_training.pseudo_labels.pseudo_classes import STATISTICS_FILE
from offline_training.report.figures import counted, percentage
from offline_training.report.pictures import jpeg_uri
from offline_training.report.scores import read_if_there

# Lengths measured by `label`, as text.
_LENGTHS = {
    'height_max_m': 'top {:.1f} m above the ground',
    'extent_long_m': '{:.1f} m long',
    'extent_vertical_m': '{:.1f} m high',
    'range_m': '{:.0f} m away',
}


@dataclasses.dataclass(frozen=True)
class GalleryEntry:
    """One pseudo-class that has pixels.

    Attributes:
        number, name: of the class.
        color: red, green, blue.
        picture: of its segments, a data URI; empty if there is none.
        share: of all labelled pixels, 0 to 1; None if not known.
        facts: amount, kinds and lengths, as text.
    """

    number: int
    name: str
    color: tuple[int, int, int]
    picture: str
    share: float | None
    facts: list[str]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """All pseudo-classes.

    Attributes:
        entries: those with pixels, the most common first.
        empty: numbers of those without any labelled pixel.
        features: the segments' descriptor, empty if not known.
    """

    entries: list[GalleryEntry]
    empty: list[int]
    features: str


def gallery_folder(run: Path | None, dataset: Path | None) -> Path | None:
    """Return the folder with the gallery: in the run, or in its dataset."""
    for folder in (run, dataset):
        if folder and is_there(folder / PSEUDO_CLASSES_FOLDER / STATISTICS_FILE):
            return folder / PSEUDO_CLASSES_FOLDER
    return None


def names_of(run: Path | None, dataset: Path | None) -> list[ClassName]:
    """Return names and colours: the run's, else the dataset's, else none."""
    for folder in (run, dataset and dataset / PSEUDO_CLASSES_FOLDER):
        if folder and is_there(folder / CLASSES_FILE):
            return load_classes(folder / CLASSES_FILE)
    return []


def gallery(folder: Path | None, classes: Sequence[ClassName]) -> Gallery | None:
    """Return the gallery of pseudo-classes.

    Args:
        folder: of `gallery_folder`.
        classes: names and colours.
    """
    if folder is None or not classes:
        return None
    content = read_if_there(folder / STATISTICS_FILE)
    statistics = {entry['class']: entry for entry in content.get('class_statistics', [])}
    pixels = {number: int(entry['pixels']) for number, entry in statistics.items()}
    total = sum(pixels.values())
    numbers = sorted(range(len(classes)), key=lambda number: -pixels.get(number, 0))
    entries = [
        GalleryEntry(
            number,
            classes[number].name,
            classes[number].color,
            _picture(folder / GALLERY_FOLDER / picture_name(number)),
            pixels[number] / total if number in pixels and total else None,
            _facts(statistics.get(number, {})),
        )
        for number in numbers
        if pixels.get(number, 1) > 0
    ]
    empty = [number for number in numbers if pixels.get(number, 1) == 0]
    return Gallery(entries, sorted(empty), str(content.get('features', '')))


def _picture(file: Path) -> str:
    try:
        return jpeg_uri(read_whole(file))
    except FileNotFoundError:
        return ''
    except OSError as err:
        raise DatasetError(f'cannot read {file}: {err.strerror}') from err


def _facts(entry: dict[str, Any]) -> list[str]:
    """Return the statistics `label` wrote of a class, as text."""
    if not entry:
        return []
    facts = [f'{counted(entry["segments"], "segment")} of {counted(entry["objects"], "track")}']
    kinds = {kind: count for kind, count in (entry.get('kinds') or {}).items() if count}
    total = sum(kinds.values())
    parts = sorted(kinds, key=lambda kind: -kinds[kind])
    if len(parts) == 1:
        facts.append('objects' if parts[0] == 'object' else parts[0])
    elif parts:
        facts.append(', '.join(f'{kind} {percentage(kinds[kind] / total, 0)}' for kind in parts))
    # The ground has no height worth saying, the sky no place.
    lengths = [text.format(entry[key]) for key, text in _LENGTHS.items() if key in entry]
    if lengths and parts[:1] == ['object']:
        facts.append(', '.join(lengths) + ' (medians)')
    return facts
