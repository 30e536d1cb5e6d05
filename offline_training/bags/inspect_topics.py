"""One pass of `inspect` over a bag: stamps, rates and clocks of every topic."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.ros.bags import BagMessage, BagReader, Topic, peek_stamp_ns
from offline_training.bags.inspect_report import Problem, TopicReport

# A message is stored within a fraction of a second of its stamp, unless clocks differ.
CLOCK_SKEW_S = 0.5


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The results of one pass over a bag, by topic.

    Attributes:
        stamps: (N, 2) int64 header and bag stamp of each message, ns; -1 without header.
        first: the first message.
        sizes: bytes of each message.
        problems: of message types.
    """

    stamps: dict[str, NDArray[np.int64]]
    first: dict[str, BagMessage]
    sizes: dict[str, list[int]]
    problems: list[Problem]


def read_once(reader: BagReader) -> Recorded:
    """Read a bag once."""
    stamps: dict[str, list[tuple[int, int]]] = {name: [] for name in reader.topics}
    first: dict[str, BagMessage] = {}
    sizes: dict[str, list[int]] = {}
    headed = {topic.name for topic in reader.topics.values() if reader.has_header(topic.type)}
    other_types: Counter[tuple[str, str]] = Counter()
    for message in reader.messages():
        if message.msgtype != reader.topics[message.topic].type:
            other_types[message.topic, message.msgtype] += 1
        first.setdefault(message.topic, message)
        sizes.setdefault(message.topic, []).append(len(message.raw))
        whole = message.topic in headed and len(message.raw) >= 12
        header = peek_stamp_ns(message.raw) if whole else -1
        stamps[message.topic].append((header, message.bag_stamp_ns))
    problems = [
        Problem(
            f'{name}: {count} messages are of another type, {kind}',
            f'extract drops them and uses {reader.topics[name].type}; use one type per topic',
        )
        for (name, kind), count in other_types.items()
    ]
    arrays = {name: np.array(values, np.int64).reshape(-1, 2) for name, values in stamps.items()}
    return Recorded(arrays, first, sizes, problems)


def topic_report(topic: Topic, stamps: NDArray[np.int64]) -> TopicReport:
    """Report on a topic.

    Args:
        topic: of the bag.
        stamps: (N, 2), see `Recorded`.
    """
    header, bag = stamps.T
    rate = offset = None
    if len(bag) > 1 and bag[-1] > bag[0]:
        rate = (len(bag) - 1) / ((bag[-1] - bag[0]) * 1e-9)
    stamped = header > 0
    if stamped.any():
        offset = float(np.median((bag - header)[stamped])) * 1e-9
    return TopicReport(
        topic.name, topic.type, len(bag), rate, offset, zero_stamps=int((header == 0).sum())
    )


def topic_problems(topic: Topic, report: TopicReport) -> list[Problem]:
    """Return problems of a topic."""
    problems = []
    if not topic.readable:
        problems.append(
            Problem(
                f'{topic.name}: message type {topic.type} is unknown',
                'ignored; the other topics can be used',
            )
        )
    if report.zero_stamps:
        problems.append(
            Problem(
                f'{topic.name}: {report.zero_stamps} of {report.count} messages have no stamp',
                'let the driver set header.stamp; unstamped messages cannot be paired',
            )
        )
    offset = report.clock_offset_s
    skewed = offset is not None and abs(offset) > CLOCK_SKEW_S
    if skewed and not topic.name.endswith('tf_static'):
        problems.append(
            Problem(
                f'{topic.name}: stored {offset:+.3f} s after its stamps',
                'irrelevant if all sensors share one clock (pairing uses header stamps); '
                'otherwise synchronise them with PTP or chrony',
            )
        )
    return problems
