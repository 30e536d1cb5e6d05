"""The images of a part of a bag, with names that do not depend on the division into parts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from drive_segment_ros.errors import BagError, DriveSegmentError
from drive_segment_ros.ros.bags import peek_stamp_ns
from drive_segment_ros.ros.video import VIDEO_TYPES, primed
from offline_training.bags.kept_open import opened
from offline_training.evaluation.image_part import NamedImage, Wanted


@dataclasses.dataclass(frozen=True)
class BagImages:
    """The images of a bag, or of the bags of one drive, in a time range.

    Attributes:
        bags: the bag, or the bags of the drive.
        topics: of the images.
        start_ns, stop_ns: bag stamps from `start_ns` to before `stop_ns`; None for the end.
        count: estimated number of images, as if they were spread evenly over the drive.
        run: identifies the command: in the next one, the files may have changed.
        before: names in the range that occur before it, and how often.
    """

    bags: tuple[Path, ...]
    topics: tuple[str, ...]
    start_ns: int
    stop_ns: int | None
    count: int
    run: str
    before: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """Return a description for messages."""
        bags = ' + '.join(map(str, self.bags))
        until = 'the end' if self.stop_ns is None else str(self.stop_ns)
        return f'{bags} from {self.start_ns} to {until} ns'

    def images(self, skipped: list[str], wanted: Wanted) -> Iterator[NamedImage]:
        """Yield the wanted images, see `ImagePart`; a number is appended to repeated names."""
        from drive_segment_ros.ros.images import decode_image

        names = ImageNames(self.before)
        bag = opened(self.bags, self.run)
        videos = {
            topic: primed(bag, topic, self.start_ns)
            for topic in self.topics
            if bag.topics[topic].type in VIDEO_TYPES
        }
        for message in bag.messages(self.topics, self.start_ns, self.stop_ns):
            try:
                name = names.next(message.topic, peek_stamp_ns(message.raw), message.bag_stamp_ns)
                video = videos.get(message.topic)
                if video is not None:
                    image = video.push(bag.deserialize(message.raw, message.msgtype))
                    if wanted(name):
                        yield name, decode_image(image)
                elif wanted(name):
                    yield name, decode_image(bag.deserialize(message.raw, message.msgtype))
            except DriveSegmentError as err:
                skipped.append(f'{message.topic} at {message.bag_stamp_ns}: {err}')
        skipped.extend(bag.damage)


class ImageNames:
    """Names images in the order of their messages."""

    def __init__(self, before: Iterable[tuple[str, int]] = ()) -> None:
        """Start after images with these names, each with its number of occurrences."""
        self._used = Counter(dict(before))

    def next(self, topic: str, stamp_ns: int, bag_stamp_ns: int) -> str:
        """Return the name of the next image: topic and stamp, and a number if it is repeated."""
        name = _name(topic, stamp_ns, bag_stamp_ns)
        count = self._used[name]
        self._used[name] += 1
        return f'{name}_{count}' if count else name


def name_counts(part: BagImages) -> Counter[str]:
    """Return how often each name, without its number, occurs in a part."""
    bag = opened(part.bags, part.run)
    names: Counter[str] = Counter()
    for message in bag.messages(part.topics, part.start_ns, part.stop_ns):
        try:
            stamp_ns = peek_stamp_ns(message.raw)
        except BagError:
            continue  # too short for a stamp, so not an image
        names[_name(message.topic, stamp_ns, message.bag_stamp_ns)] += 1
    return names


def _name(topic: str, stamp_ns: int, bag_stamp_ns: int) -> str:
    return f'{topic.strip("/")}/{stamp_ns or bag_stamp_ns}'
