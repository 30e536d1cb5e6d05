"""Labelled images for scoring, in the layouts they are published in.

`evaluate`, `name` and `ablate` read ground truth; training does not, except for the upper bound of
an experiment (`truth_bound`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import read_image_file
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.inference.model import class_name
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.storage import files_there, is_remote, name_below, read_whole
from drive_segment_ros.text_files import read_json
from offline_training.common.files import files_below
from offline_training.common.image_files import IMAGE_SUFFIXES

# Cityscapes label ids 7..33 in order, which is its 27-class protocol; the 19 that its benchmark
# scores are marked. https://github.com/mcordts/cityscapesScripts (helpers/labels.py)
_CITYSCAPES_27 = (
    *('road', 'sidewalk', 'parking', 'rail track', 'building', 'wall', 'fence', 'guard rail'),
    *('bridge', 'tunnel', 'pole', 'polegroup', 'traffic light', 'traffic sign', 'vegetation'),
    *('terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'caravan', 'trailer', 'train'),
    *('motorcycle', 'bicycle'),
)
_CITYSCAPES_FIRST_ID = 7
CITYSCAPES_19_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_BIT_DEPTH = 24
ACDC_CONDITIONS = ('fog', 'night', 'rain', 'snow')


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """One image and its label image.

    Attributes:
        image_path, label_path: of the files.
        number_of_id: as in `GroundTruth`, for a label image with other ids; else None.
    """

    image_path: Path
    label_path: Path
    number_of_id: NDArray[np.uint8] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """A set of labelled images.

    Attributes:
        images: in order of name.
        classes: names by class number.
        number_of_id: (256,) uint8 class number of each value in the files, 255 = unlabelled.
    """

    images: list[LabelledImage]
    classes: list[str]
    number_of_id: NDArray[np.uint8]

    def label(self, item: LabelledImage) -> NDArray[np.uint8]:
        """Read one truth: (H, W) uint8 class number, 255 = unlabelled.

        Raises:
            DatasetError: if the file is no 8-bit image of ids, or holds ids beyond its classes.
        """
        table = self.number_of_id if item.number_of_id is None else item.number_of_id
        number = table[read_label(item.label_path)]
        largest = int(number[number != IGNORE_LABEL].max(initial=0))
        if largest >= len(self.classes):
            raise DatasetError(
                f'{item.label_path} has id {largest}, but there are {len(self.classes)} classes'
            )
        return number


def read_label(path: Path) -> NDArray[np.uint8]:
    """Read an image of ids, (H, W) uint8.

    Raises:
        DatasetError: if it cannot be read, or is not grey with 8 bits.
    """
    try:
        data = read_whole(path)
        label = read_image_file(data, unchanged=True)
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    except ImageError as err:
        raise DatasetError(f'{path} is not a readable image: it {err}') from err
    # Ids of fewer bits would be stretched to 0..255.
    few_bits = data[:8] == _PNG_SIGNATURE and data[_PNG_BIT_DEPTH] < 8
    if label.dtype != np.uint8 or label.ndim != 2 or few_bits:
        raise DatasetError(f'{path} must be an 8-bit grey image of ids, without colours')
    return np.asarray(label, np.uint8)


def load_ground_truth(layout: str, images: Path, truth: Path) -> GroundTruth:
    """Find the labelled images of a benchmark.

    Args:
        layout: one of `LAYOUTS`.
        images: folder of images; of a published benchmark its root, or the image folder in it.
        truth: folder of labels, likewise.

    Raises:
        DatasetError: on an unknown layout, or when no labelled image is found.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f'unknown ground truth format {layout!r}; choose from {list(LAYOUTS)}')
    for folder in (images, truth):
        if not folder.is_dir():
            raise DatasetError(f'{folder} is not a folder')
    found = LAYOUTS[layout](images, truth)
    if not found.images:
        raise DatasetError(
            f'no labelled image of format {layout} in {images} and {truth}; see the docs for the '
            'layout expected'
        )
    return found


def _folder(images: Path, truth: Path) -> GroundTruth:
    """Images and labels of one stem; names in `classes.json` beside the labels, if any."""
    image_of: dict[Path, Path] = {}
    label_of = {
        image: truth / str(name_below(image, images).with_suffix('.png'))
        for image in files_below(images)
        if image.suffix.lower() in IMAGE_SUFFIXES
    }
    there = files_there(label_of.values())
    for image, label in label_of.items():
        if label == image or label not in there:
            continue
        if label in image_of:
            raise DatasetError(f'{label} is the label of both {image_of[label]} and {image}')
        image_of[label] = image
    pairs = [LabelledImage(image, label) for label, image in image_of.items()]
    return GroundTruth(pairs, *folder_classes(truth))


def folder_classes(truth: Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the names in a folder's `classes.json`, without one numbers; and `number_of_id`.

    `ignore` in it, an id or a list of ids beside 255, is unlabelled.

    Raises:
        DatasetError: if the file is of another form.
    """
    number_of_id = np.arange(256).astype(np.uint8)
    file = truth / 'classes.json'
    if not file.is_file():
        return [str(number) for number in range(IGNORE_LABEL)], number_of_id
    try:
        content = read_json(file)
        names, ignored = content['classes'], content.get('ignore', [])
        if not isinstance(names, list) or len(names) > IGNORE_LABEL:
            raise ValueError(f'"classes" is not a list of up to {IGNORE_LABEL} names')
        names = [class_name(name) for name in names]
        for label_id in ignored if isinstance(ignored, list) else [ignored]:
            if type(label_id) is not int or not 0 <= label_id <= IGNORE_LABEL:
                raise ValueError(f'"ignore" {label_id!r} is not an id from 0 to {IGNORE_LABEL}')
            number_of_id[label_id] = IGNORE_LABEL
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise DatasetError(
            f'{file} must have the form {{"classes": [names], "ignore": id}}: {err}'
        ) from err
    return names, number_of_id


def _cityscapes(ids: tuple[int, ...]) -> Callable[[Path, Path], GroundTruth]:
    """leftImg8bit/<split>/<city>/X_leftImg8bit.png, gtFine/.../X_gtFine_labelIds.png."""

    def load(images: Path, truth: Path) -> GroundTruth:
        return _published(
            images, truth, '_leftImg8bit.png', '_gtFine_labelIds.png', *_cityscapes_ids(ids)
        )

    return load


def _dark_zurich(images: Path, truth: Path) -> GroundTruth:
    """rgb_anon/**/X_rgb_anon.png, gt/**/X_gt_labelTrainIds.png."""
    return _published(images, truth, '_rgb_anon.png', '_gt_labelTrainIds.png', *_train_ids())


def _nighttime_driving(images: Path, truth: Path) -> GroundTruth:
    """leftImg8bit/test/night/X_leftImg8bit.png, gtCoarse_daytime_trainvaltest/test/night/
    X_gtCoarse_labelTrainIds.png."""
    return _published(
        images, truth, '_leftImg8bit.png', '_gtCoarse_labelTrainIds.png', *_train_ids()
    )


def _acdc(condition: str) -> Callable[[Path, Path], GroundTruth]:
    """rgb_anon/<condition>/<split>/**/X_rgb_anon.png, gt/<condition>/**/X_gt_labelTrainIds.png."""

    def load(images: Path, truth: Path) -> GroundTruth:
        found = _dark_zurich(images, truth)
        if not condition:
            return found
        chosen = [item for item in found.images if condition in _below(item.image_path, images)]
        return dataclasses.replace(found, images=chosen)

    return load


def _below(path: Path, images: Path) -> tuple[str, ...]:
    """Return the folders of an image below `rgb_anon`; without that, below `images`."""
    parts = (path if is_remote(path) else Path(os.path.abspath(path))).parts[:-1]
    if 'rgb_anon' in parts:
        return parts[len(parts) - parts[::-1].index('rgb_anon') :]
    return name_below(path, images).parts[:-1]


LAYOUTS: dict[str, Callable[[Path, Path], GroundTruth]] = {
    'folder': _folder,
    'cityscapes': _cityscapes(CITYSCAPES_19_IDS),
    'cityscapes-27': _cityscapes(tuple(range(7, 34))),
    'dark-zurich': _dark_zurich,
    'nighttime-driving': _nighttime_driving,
    'acdc': _acdc(''),
    **{f'acdc-{condition}': _acdc(condition) for condition in ACDC_CONDITIONS},
}


def _published(
    images: Path,
    truth: Path,
    image_ending: str,
    label_ending: str,
    classes: list[str],
    number_of_id: NDArray[np.uint8],
) -> GroundTruth:
    """Pair files by the name before their ending, which is unique within these benchmarks."""
    labels = {
        path.name.removesuffix(label_ending): path
        for path in files_below(truth)
        if path.name.endswith(label_ending)
    }
    pairs = [
        LabelledImage(path, labels[key])
        for path in files_below(images)
        if path.name.endswith(image_ending)
        and (key := path.name.removesuffix(image_ending)) in labels
    ]
    return GroundTruth(pairs, classes, number_of_id)


def _cityscapes_ids(ids: tuple[int, ...]) -> tuple[list[str], NDArray[np.uint8]]:
    """Return names and numbers for files that hold Cityscapes' full label ids."""
    number_of_id = np.full(256, IGNORE_LABEL, np.uint8)
    number_of_id[list(ids)] = np.arange(len(ids))
    return [_CITYSCAPES_27[label_id - _CITYSCAPES_FIRST_ID] for label_id in ids], number_of_id


def _train_ids() -> tuple[list[str], NDArray[np.uint8]]:
    """Return names and numbers for files that hold Cityscapes' 19 train ids."""
    names, _ = _cityscapes_ids(CITYSCAPES_19_IDS)
    number_of_id = np.full(256, IGNORE_LABEL, np.uint8)
    number_of_id[:19] = np.arange(19)
    return names, number_of_id
