"""Images from wherever they are: files, folders, videos, bags."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import MAX_PIXELS, read_image_file
from drive_segment_ros.errors import DriveSegmentError, ImageError
from drive_segment_ros.ros.joined_bags import Bags, open_drive
from drive_segment_ros.staging import staged
from drive_segment_ros.storage import file_names, is_remote, read_whole
from offline_training.common.files import files_below
from offline_training.evaluation.ground_truth import IMAGE_SUFFIXES

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm')
BAG_SUFFIXES = ('.mcap', '.db3')
_IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file, (H, W, 3) uint8 BGR, whatever its depth and channels.

    It is upright, turned as its EXIF says, as any viewer shows it.

    Raises:
        ImageError: if it is missing, no image, truncated, or too large.
    """
    try:
        return read_image_file(read_whole(path), upright=True)
    except OSError as err:
        raise ImageError(f'cannot read {path}: {err.strerror}') from err
    except ImageError as err:
        raise ImageError(f'{path} {err}') from err


def images_in(
    source: Path, skipped: list[str], without: Sequence[Path] = ()
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the images of a source, each with a name that is unique in it.

    Args:
        source: an image, a folder of images (searched below too), a video or a bag.
        skipped: gets a line for each image that cannot be read; the others go on.
        without: folders that are not looked into, such as those of our own pictures.

    Yields:
        A relative path without suffix, and (H, W, 3) uint8 BGR.

    Raises:
        ImageError: if the source is missing or of no known kind.
    """
    if not source.exists():
        raise ImageError(f'{source} does not exist')
    if is_bag(source):
        yield from images_of_bags(source, skipped)
    elif source.is_dir():
        others = [
            _absolute(folder) for folder in without if is_remote(folder) == is_remote(source)
        ]
        files = [
            path
            for path in files_below(source)
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(_absolute(path).is_relative_to(folder) for folder in others)
        ]
        if not files:
            raise ImageError(f'{source} holds no image ({", ".join(IMAGE_SUFFIXES)}) and no bag')
        yield from _files(files, names_of(files, source), skipped)
    elif source.suffix.lower() in VIDEO_SUFFIXES:
        with staged(source) as video:
            yield from _video(video, skipped)
    else:
        yield from _files([source], [source.stem], skipped)


def _absolute(path: Path) -> Path:
    return path if is_remote(path) else Path(os.path.abspath(path))


def is_bag(source: Path) -> bool:
    """Whether a path is a bag: one of its files, or a folder of them, finished or not."""
    if source.suffix in BAG_SUFFIXES or (source / 'metadata.yaml').is_file():
        return True
    return source.is_dir() and any(n.endswith(BAG_SUFFIXES) for n in file_names(source))


def names_of(files: Sequence[Path], root: Path) -> list[str]:
    """Return a name for each file: its path below `root` without suffix, or with it if two
    files differ in nothing else."""
    stems = [str(path.relative_to(root).with_suffix('')) for path in files]
    count = Counter(stems)
    names = (
        stem if count[stem] == 1 else str(path.relative_to(root))
        for stem, path in zip(stems, files, strict=True)
    )
    return unique(names)


def unique(names: Iterable[str]) -> list[str]:
    """Return names with a number added to those that an earlier one has already: x, x_1, ..."""
    result: dict[str, None] = {}
    for name in names:
        numbered = (f'{name}_{number}' for number in itertools.count(1))
        free = next(one for one in itertools.chain([name], numbered) if one not in result)
        result[free] = None
    return list(result)


def _files(
    files: Sequence[Path], names: Sequence[str], skipped: list[str]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for path, name in zip(files, names, strict=True):
        try:
            image = read_image(path)
        except ImageError as err:
            skipped.append(str(err))
            continue
        yield name, image


def _video(path: Path, skipped: list[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ImageError(f'{path} is no video that can be read')
        # What the file says of itself, which is an estimate in some formats.
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        refuse_large_video(capture, path)
        number = 0
        while True:
            good, image = capture.read()
            if not good:
                if number < 0.95 * frames - 1.0:
                    skipped.append(f'{path} ends after {number} of {frames} frames')
                return
            yield f'{path.stem}/{number:06d}', np.asarray(image, np.uint8)
            number += 1
    finally:
        capture.release()


def refuse_large_video(capture: cv2.VideoCapture, path: Path) -> None:
    """Raise ImageError where an opened video's frames are larger than images may be."""
    width, height = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{path} has frames of {width:.0f} x {height:.0f} px, above the limit {MAX_PIXELS}'
        )


def images_of_bags(bags: Bags, skipped: list[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the images of a bag, or of all parts of a drive; see `images_in`."""
    from drive_segment_ros.ros.bags import header_stamp_ns
    from drive_segment_ros.ros.images import decode_image

    with open_drive(bags) as bag:
        topics = [topic.name for topic in bag.topics.values() if topic.type in _IMAGE_TYPES]
        if not topics:
            raise ImageError(f'{bag} holds no image topic; it has {", ".join(bag.topics)}')
        used: Counter[str] = Counter()
        for message in bag.messages(topics):
            try:
                image = bag.deserialize(message.raw, message.msgtype)
                stamp_ns = header_stamp_ns(image) or message.bag_stamp_ns
                name = f'{message.topic.strip("/")}/{stamp_ns}'
                decoded = decode_image(image)
                # A clock that was set back gives stamps a second time.
                again = f'_{used[name]}' if used[name] else ''
                used[name] += 1
                yield name + again, decoded
            except DriveSegmentError as err:
                skipped.append(f'{message.topic} at {message.bag_stamp_ns}: {err}')
        skipped.extend(bag.damage)
