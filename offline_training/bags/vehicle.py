"""The vehicle's extrinsics and motion in a bag."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.frame.motion_sources import MotionSource, MotionSources
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader, Topic
from offline_training.bags import sensors

_STATIC = 'tf_static'
# Time from the start of a topic in which its frames are collected.
_LOOKED_AT_NS = 3_000_000_000
# Largest change of an entry of a transform that counts as rounding (0.06 degrees, or metres).
_STILL = 1e-3


def static_transforms(reader: BagReader) -> tuple[TransformTree, list[str]]:
    """Return all transforms of the bag's `tf_static`, and problems of some, one line each.

    Raises:
        BagError: if a message is damaged.
    """
    tree, told = TransformTree(), []
    names = [
        t.name for t in sensors.of_type(reader, sensors.TRANSFORMS) if t.name.endswith(_STATIC)
    ]
    for message in reader.messages(names):
        told += tree.set_messages(reader.deserialize(message.raw, sensors.TRANSFORMS).transforms)
    return tree, list(dict.fromkeys(told))


@dataclasses.dataclass(frozen=True)
class TfExtrinsics:
    """The extrinsics that are in the bag's /tf only.

    Attributes:
        still: frames whose transform never changes; they have been added to the tree.
        moving: frames whose transform changes, such as a LiDAR on a joint, if a sensor depends on
            them; the tree has their first transform.
    """

    still: tuple[str, ...] = ()
    moving: frozenset[str] = frozenset()


def complete_from_tf(
    reader: BagReader, tree: TransformTree, pairs: Iterable[tuple[str, str]], odometry_frame: str
) -> TfExtrinsics:
    """Add extrinsics that are in /tf only, as published by some `robot_state_publisher`s.

    Args:
        reader: the open bag.
        tree: transforms of tf_static and the calibration file, which take precedence; completed
            in place.
        pairs: (target, source) frames to be connected; if they are already, /tf is not read.
        odometry_frame: its children are the vehicle's motion, not extrinsics.
    """
    pairs = list(pairs)
    names = tf_topics(reader)
    if not names or len(_joined(tree, pairs)) == len(pairs):
        return TfExtrinsics()
    placed = {child for _, child, _ in tree.links}
    first: dict[str, tuple[str, NDArray[np.float64]]] = {}
    moving: set[str] = set()
    for message in reader.messages(names):
        with contextlib.suppress(BagError):  # skip a damaged message
            for item in reader.deserialize(message.raw, sensors.TRANSFORMS).transforms:
                one = TransformTree()
                one.set_message(item)
                for parent, child, T in one.links:
                    if parent == odometry_frame.lstrip('/') or child in placed:
                        continue
                    known_parent, known_T = first.setdefault(child, (parent, T))
                    if parent != known_parent or np.abs(T - known_T).max() > _STILL:
                        moving.add(child)
    still = tuple(child for child in first if child not in moving)
    for child in still:
        tree.set(first[child][0], child, first[child][1])
    # Add moving transforms only if they connect further pairs.
    with_moving = TransformTree()
    links = [*tree.links, *((first[child][0], child, first[child][1]) for child in moving)]
    for link in links:
        with_moving.set(*link)
    if _joined(with_moving, pairs) <= _joined(tree, pairs):
        return TfExtrinsics(still)
    for link in links:
        tree.set(*link)
    return TfExtrinsics(still, frozenset(moving))


def odometry_topics(reader: BagReader) -> list[str]:
    """Return the topics that may hold the vehicle's motion: nav_msgs/Odometry, then tf."""
    return [topic.name for topic in sensors.of_type(reader, sensors.ODOMETRY)] + tf_topics(reader)


def tf_topics(reader: BagReader) -> list[str]:
    """Return the topics of transforms that may change."""
    return [
        t.name for t in sensors.of_type(reader, sensors.TRANSFORMS) if not t.name.endswith(_STATIC)
    ]


@dataclasses.dataclass(frozen=True)
class Odometry:
    """The selected source of the vehicle's motion.

    Attributes:
        topics: topics of nav_msgs/Odometry or tf messages; empty if there is none.
        source: its frames; None if there is no source, or none could be read.
        text: topic and frames as text, empty without a source.
        warning: ignored alternatives as text, empty if there are none.
    """

    topics: tuple[str, ...] = ()
    source: MotionSource | None = None
    text: str = ''
    warning: str = ''


def choose_odometry(
    reader: BagReader, wanted: str, odometry_frame: str, base_frame: str
) -> Odometry:
    """Return the requested odometry, or the one whose frames fit best, see `MotionSources`.

    Args:
        reader: the open bag.
        wanted: topic of nav_msgs/Odometry or tf messages; empty for the best fit.
        odometry_frame, base_frame: the frames to prefer.

    Raises:
        BagError: if there is no such topic.
    """
    topics = [topic.name for topic in sensors.of_type(reader, sensors.ODOMETRY)]
    if wanted:
        if wanted not in (*topics, *tf_topics(reader)):
            raise BagError(
                f'{reader} has no odometry {wanted}; of nav_msgs/Odometry it has '
                f'{", ".join(topics) or "none"}, of tf {", ".join(tf_topics(reader)) or "none"}'
            )
        topics = [wanted]
    sources = MotionSources(odometry_frame, base_frame)
    found: dict[MotionSource, str] = {}
    for topic in topics if wanted else [*topics, *tf_topics(reader)]:
        for parent, child in _frames(reader, reader.topics[topic]):
            kind = 'odometry' if reader.topics[topic].type == sensors.ODOMETRY else 'tf'
            if kind == 'odometry' or parent == odometry_frame.lstrip('/'):
                sources.takes(kind, parent, child)
                found.setdefault(MotionSource(kind, parent, child), topic)
    texts = {source: f'{topic}: {source.frames}' for source, topic in found.items()}
    taken = sources.taken
    if taken is None:
        # Messages are damaged or of other frames; usable ones may still follow.
        return Odometry(tuple(topics[:1] or tf_topics(reader)))
    others = [texts[source] for source in sources.others if source.kind == 'odometry']
    # With tf, one topic may contain the motion and another one the extrinsics.
    chosen = tf_topics(reader) if taken.kind == 'tf' and not wanted else [found[taken]]
    warning = ''
    if others:
        warning = (
            f'several odometries: {texts[taken]} is used, {", ".join(others)} ignored; choose '
            'one with --odometry'
        )
    return Odometry(tuple(chosen), taken, texts[taken], warning)


def _frames(reader: BagReader, topic: Topic) -> list[tuple[str, str]]:
    """Return parents and children in the first messages of an odometry or tf topic."""
    links: dict[tuple[str, str], None] = {}
    until_ns: int | None = None
    for message in reader.messages([topic.name]):
        until_ns = until_ns or message.bag_stamp_ns + _LOOKED_AT_NS
        if message.bag_stamp_ns > until_ns:
            break
        with contextlib.suppress(BagError):  # skip a damaged message
            decoded = reader.deserialize(message.raw, topic.type)
            if topic.type == sensors.TRANSFORMS:
                links.update(dict.fromkeys(frames_of(decoded)))
            else:
                frames = decoded.header.frame_id, decoded.child_frame_id
                links[frames[0].lstrip('/'), frames[1].lstrip('/')] = None
    return list(links)


def _joined(tree: TransformTree, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs of frames that a chain of transforms joins."""
    joined = set()
    for target, source in pairs:
        with contextlib.suppress(CalibrationError):
            tree.lookup(target, source)
            joined.add((target, source))
    return joined


def frames_of(message: Any) -> Iterator[tuple[str, str]]:
    """Yield parent and child of every transform in a tf message."""
    for transform in message.transforms:
        yield transform.header.frame_id.lstrip('/'), transform.child_frame_id.lstrip('/')
