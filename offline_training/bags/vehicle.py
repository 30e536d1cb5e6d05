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
# What of a topic is looked at to see which frames there are.
_LOOKED_AT_NS = 3_000_000_000
# Largest change of a rotation matrix' entry (0.06 degrees) or of metres that is rounding.
_STILL = 1e-3


def static_transforms(reader: BagReader) -> tuple[TransformTree, list[str]]:
    """Return all transforms of the bag's `tf_static`, and what is wrong with some, a line each.

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
    """What of a vehicle's build is in the bag's /tf only.

    Attributes:
        still: frames whose transform never changes; they are in the tree now.
        moving: frames that turn or travel, such as a LiDAR on a joint, if one of the sensors'
            depends on them; the tree has their first transform.
    """

    still: tuple[str, ...] = ()
    moving: frozenset[str] = frozenset()


def complete_from_tf(
    reader: BagReader, tree: TransformTree, pairs: Iterable[tuple[str, str]], odometry_frame: str
) -> TfExtrinsics:
    """Add to a tree what only /tf has, as from a `robot_state_publisher` without `tf_static`.

    Args:
        reader: the open bag.
        tree: of tf_static and the calibration file, which go before /tf.
        pairs: targets and sources that have to be joined; if they are, /tf is not read.
        odometry_frame: whose children are the vehicle's motion, not its build.
    """
    pairs = list(pairs)
    names = tf_topics(reader)
    if not names or len(_joined(tree, pairs)) == len(pairs):
        return TfExtrinsics()
    placed = {child for _, child, _ in tree.links}
    first: dict[str, tuple[str, NDArray[np.float64]]] = {}
    moving: set[str] = set()
    for message in reader.messages(names):
        with contextlib.suppress(BagError):  # a damaged one; its neighbours will do
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
    # A pair that nothing joins must not bring in what the others do not need.
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
    """Where the vehicle's motion is taken from.

    Attributes:
        topics: nav_msgs/Odometry or tf messages; empty if there is none.
        source: the frames taken; None if there is none, or none could be read.
        text: topic and frames, empty if there is none.
        warning: what else might have been taken; empty if nothing.
    """

    topics: tuple[str, ...] = ()
    source: MotionSource | None = None
    text: str = ''
    warning: str = ''


def choose_odometry(
    reader: BagReader, wanted: str, odometry_frame: str, base_frame: str
) -> Odometry:
    """Return the odometry asked for, or the one whose frames fit best, see `MotionSources`.

    Args:
        reader: the open bag.
        wanted: topic of nav_msgs/Odometry or tf messages; empty to choose.
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
        # Damaged or not of the odometry frame; what can be read may still come.
        return Odometry(tuple(topics[:1] or tf_topics(reader)))
    others = [texts[source] for source in sources.others if source.kind == 'odometry']
    # Of tf, one topic may hold the motion and another the build.
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
        with contextlib.suppress(BagError):  # a damaged one; its neighbours will do
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
