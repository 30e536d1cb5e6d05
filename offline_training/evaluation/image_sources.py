"""Images of files, folders, videos and bags."""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from drive_segment_ros.errors import ImageError
from drive_segment_ros.ros.bag_files import is_storage
from drive_segment_ros.ros.joined_bags import open_drive
from drive_segment_ros.storage import file_names, name_below
from offline_training.bags.sensors import IMAGE_TYPES, cameras, is_own
from offline_training.common.engine import Engine
from offline_training.common.image_files import files_in, read_image
from offline_training.evaluation.bag_images import BagImages, name_counts
from offline_training.evaluation.image_part import (
    IMAGES_A_PART,
    ImagePart,
    NamedImage,
    Wanted,
)
from offline_training.evaluation.video_images import video_parts

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm')


def image_parts(
    source: Path | Sequence[Path], without: Sequence[Path] = (), copies: bool = True
) -> Sequence[ImagePart]:
    """Divide a source's images into parts of some seconds' work, independent of the workers.

    Args:
        source: an image, a folder of images (searched recursively), a video, a bag, or the bags of
            one drive.
        without: folders that are not searched, such as those of the output.
        copies: whether to use all image topics of a bag, or one of each camera.

    Raises:
        BagError, ImageError: if the source is missing, cannot be read or is of no known kind.
    """
    if isinstance(source, Sequence):
        return _bag_parts(tuple(source), copies)
    if not source.exists():
        raise ImageError(f'{source} does not exist')
    if is_bag(source):
        return _bag_parts((source,), copies)
    if source.suffix.lower() in VIDEO_SUFFIXES and not source.is_dir():
        return video_parts(source)
    files, names = [source], [source.stem]
    if source.is_dir():
        files = files_in(source, without)
        names = names_of(files, source)
    named = list(zip(files, names, strict=True))
    return [
        ImageFiles(tuple(named[k : k + IMAGES_A_PART]))
        for k in range(0, len(named), IMAGES_A_PART)
    ]


def is_bag(source: Path) -> bool:
    """Return whether a path is a bag: a storage file, or a folder of them, finished or not."""
    if (source.is_file() and is_storage(source)) or (source / 'metadata.yaml').is_file():
        return True
    return source.is_dir() and any(is_storage(Path(name)) for name in file_names(source))


def names_of(files: Sequence[Path], root: Path) -> list[str]:
    """Return a unique name for each file: its path below `root`, without suffix if unique."""
    below = [name_below(path, root) for path in files]
    stems = [str(name.with_suffix('')) for name in below]
    count = Counter(stems)
    names = (
        stem if count[stem] == 1 else str(name) for stem, name in zip(stems, below, strict=True)
    )
    return unique(names)


def unique(names: Iterable[str]) -> list[str]:
    """Return names made unique by appending a number to repeated ones: x, x_1, ..."""
    result: dict[str, None] = {}
    for name in names:
        numbered = (f'{name}_{number}' for number in itertools.count(1))
        free = next(one for one in itertools.chain([name], numbered) if one not in result)
        result[free] = None
    return list(result)


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Image files.

    Attributes:
        files: paths and names.
    """

    files: tuple[tuple[Path, str], ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.files)

    def __str__(self) -> str:
        """Return a description for messages."""
        first, last = self.files[0][0], self.files[-1][0]
        return f'{first}' if len(self.files) == 1 else f'{first} to {last}'

    def images(self, skipped: list[str], wanted: Wanted) -> Iterator[NamedImage]:
        """Yield the wanted images, see `ImagePart`."""
        for path, name in self.files:
            if not wanted(name):
                continue
            try:
                image = read_image(path)
            except ImageError as err:
                skipped.append(str(err))
                continue
            yield name, image


def _bag_parts(bags: tuple[Path, ...], copies: bool) -> list[BagImages]:
    """Divide a drive by time."""
    with open_drive(bags) as bag:
        topics = [topic for topic in bag.topics.values() if topic.type in IMAGE_TYPES]
        topics = [t for t in topics if not is_own(t.name)] if copies else cameras(bag)
        if not topics:
            raise ImageError(f'{bag} has no image topic; it has {", ".join(bag.topics)}')
        names = tuple(topic.name for topic in topics)
        count = sum(topic.count for topic in topics)
        start_ns, length_ns = bag.start_ns, bag.end_ns + 1 - bag.start_ns
        # A damaged bag is searched for readable messages at each opening, so it is not divided.
        parts = 1 if bag.damage else max(min(-(-count // IMAGES_A_PART), length_ns), 1)
    times = [start_ns + length_ns * k // parts for k in range(parts)]
    counts = [count * (k + 1) // parts - count * k // parts for k in range(parts)]
    run = uuid.uuid4().hex
    return [
        BagImages(bags, names, *limits, run)
        for limits in zip(times, [*times[1:], None], counts, strict=True)
    ]


def named_apart(parts: Sequence[ImagePart], engine: Engine) -> Iterator[ImagePart]:
    """Yield the parts of a source with the names used in earlier parts, so that names are unique.

    Names may be repeated in bags whose clock was set back.

    Args:
        parts: all parts of one source, see `image_parts`.
        engine: reads the names of a bag's images.
    """
    bag_parts = [part for part in parts if isinstance(part, BagImages)]
    if len(bag_parts) < 2:
        yield from parts
        return
    seen: Counter[str] = Counter()
    for part, found in zip(bag_parts, engine.map(name_counts, bag_parts), strict=True):
        before = tuple((name, seen[name]) for name in found if name in seen)
        seen.update(found)
        yield dataclasses.replace(part, before=before)
