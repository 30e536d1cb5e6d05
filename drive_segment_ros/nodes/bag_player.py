"""Plays a bag: every message as it was recorded, with the timing of the recording.

Messages are published as the serialised bytes that were stored. If tf2_msgs is not installed, the
odometry in /tf is published as nav_msgs/Odometry with the same values, unless the bag has a topic
of that name.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from drive_segment_ros.errors import BagError, ParameterError
from drive_segment_ros.frame.motion_sources import MotionSources
from drive_segment_ros.parameters import parameter
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import Bags, open_drive

_log = logging.getLogger(__name__)

_ODOMETRY_TYPE = 'nav_msgs/msg/Odometry'
_TF_TYPE = 'tf2_msgs/msg/TFMessage'
_ACKNOWLEDGE_S = 10.0
# A second of a 10 Hz sensor: the delay of a subscriber at which reliable delivery fails.
_DEPTH = 10

Publish = Callable[[bytes], None]
# Called with the activity, the seconds passed, and their total.
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class PlayParameters:
    """How a bag is played."""

    rate: float = parameter(1.0, 'speed relative to the recording', minimum=0.01, maximum=100.0)
    loop: bool = parameter(
        False, 'start again at the end; stamps jump back, as they do with `ros2 bag play --loop`'
    )
    clock: bool = parameter(False, "publish each message's bag stamp on /clock before it")
    topics: list[str] = parameter(  # noqa: RUF009
        [], 'topics to play; empty for all'
    )
    wait_for_subscribers: float = parameter(
        5.0, 'longest time to wait until every topic has a subscriber', unit='s', minimum=0.0
    )
    wait_for_topics: list[str] = parameter(  # noqa: RUF009
        [],
        'topics of other nodes that must have a subscriber too, such as the masks of this bag',
    )
    longest_pause: float = parameter(
        60.0,
        'longest pause of the recording that is replayed; longer ones, such as from a first '
        'stamp in 1970 to now, are skipped',
        unit='s',
        minimum=0.0,
    )
    odometry_topic: str = parameter(
        '/odom',
        'topic on which odometry from /tf is published as nav_msgs/Odometry if tf2_msgs is '
        'missing, unless the bag has that topic',
    )
    odometry_frame: str = parameter('odom', 'parent frame that marks a transform as odometry')


@dataclasses.dataclass(frozen=True)
class PlayReport:
    """What was published.

    Attributes:
        sent: messages per topic.
        skipped: reason per topic that could not be published.
        unmatched: topics without a subscriber when playing began, of the bag and waited for.
        unacknowledged: topics with messages that a reliable subscriber had not received at the
            end.
        duration_s: from the first to the last message, wall clock.
        behind_s: the largest delay of a message.
        interrupted: whether SIGINT ended it.
    """

    sent: dict[str, int]
    skipped: dict[str, str]
    unmatched: list[str]
    unacknowledged: list[str]
    duration_s: float
    behind_s: float
    interrupted: bool


def play(
    bags: Bags,
    parameters: PlayParameters,
    progress: Progress = lambda task, done_s, total_s: None,
) -> PlayReport:
    """Publish a bag, or those of a drive, and return when the last message is acknowledged.

    An interrupt (SIGINT) ends playing early and still returns the report.

    Args:
        bags: the bag, or the parts of a drive.
        parameters: how.
        progress: called with the progress of waiting and playing.

    Raises:
        BagError: if the bag cannot be read or none of its topics can be published.
        ParameterError: if the name of a topic to wait for, or of that for odometry, is invalid.
        ModuleNotFoundError: if rclpy is missing.
    """
    # The transports of `live` and the launch files; set before the middleware starts.
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', 'LARGE_DATA')
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    # Without rclpy's handler SIGINT raises KeyboardInterrupt in the main thread.
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(
        'bag_player', context=context, start_parameter_services=False, enable_rosout=False
    )
    try:
        with open_drive(bags) as reader:
            return _BagPlayer(node, reader, parameters, progress).play()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


class _BagPlayer:
    """One bag, its publishers, and the number of messages sent."""

    def __init__(
        self, node: Any, reader: BagReader, parameters: PlayParameters, progress: Progress
    ) -> None:
        self._progress = progress
        self._node = node
        self._reader = reader
        self._parameters = parameters
        self._publishers: list[Any] = []
        self._sent: Counter[str] = Counter()
        self._skipped: dict[str, str] = {}
        self._publish: dict[str, Publish] = {}
        self._chosen = self._chosen_topics()
        for topic in self._chosen:
            self._advertise(topic)
        if not self._publish:
            reasons = '; '.join(f'{topic}: {why}' for topic, why in self._skipped.items())
            raise BagError(f'{reader}: no topic can be played ({reasons or "empty bag"})')
        self._clock = self._clock_publisher() if parameters.clock else None

    def play(self) -> PlayReport:
        unmatched: list[str] = []
        behind_s = 0.0
        interrupted = False
        began = time.monotonic()
        try:
            unmatched = self._wait_for_subscribers()
            began = time.monotonic()
            while True:
                behind_s = max(behind_s, self._play_once())
                if not self._parameters.loop or not self._sent:
                    break
        except KeyboardInterrupt:
            interrupted = True
        duration_s = time.monotonic() - began
        return PlayReport(
            sent=dict(self._sent),
            skipped=self._skipped,
            unmatched=unmatched,
            unacknowledged=self._wait_for_acknowledgement(0.0 if interrupted else _ACKNOWLEDGE_S),
            duration_s=duration_s,
            behind_s=behind_s,
            interrupted=interrupted,
        )

    def _play_once(self) -> float:
        """Send every message at its time; return the largest delay, seconds."""
        behind_s = 0.0
        due = previous_ns = None
        start_ns = self._reader.start_ns
        total_s = round((self._reader.end_ns - start_ns) * 1e-9)
        for topic, stamp_ns, raw in self._messages():
            self._progress('playing, s', round((stamp_ns - start_ns) * 1e-9), total_s)
            if due is None or previous_ns is None:
                due, previous_ns = time.monotonic(), stamp_ns
            pause_s = (stamp_ns - previous_ns) * 1e-9
            previous_ns = stamp_ns
            if pause_s > self._parameters.longest_pause:
                _log.warning('a pause of %s in the recording is skipped', _duration(pause_s))
            else:
                due += pause_s / self._parameters.rate
            ahead = due - time.monotonic()
            if ahead > 0.0:
                time.sleep(ahead)
            else:
                behind_s = max(behind_s, -ahead)
            if self._clock is not None:
                self._clock(stamp_ns)
            self._publish[topic](raw)
        return behind_s

    def _messages(self) -> Iterator[tuple[str, int, bytes]]:
        for topic, stamp_ns, raw, _ in self._reader.messages(self._publish):
            yield topic, stamp_ns, bytes(raw)

    def _chosen_topics(self) -> Sequence[str]:
        known = self._reader.topics
        for topic in self._parameters.topics:
            if topic not in known:
                raise BagError(f'{self._reader} has no topic {topic}; it has {", ".join(known)}')
        return self._parameters.topics or list(known)

    def _advertise(self, topic: str) -> None:
        """Create the topic's publisher, or record why it cannot be published."""
        info = self._reader.topics[topic]
        message_type = _import_message(info.type)
        if message_type is not None:
            try:
                publisher = self._create_publisher(message_type, topic, info.qos, info.count)
            except ParameterError as err:
                self._skip(topic, str(err))
            else:
                self._publish[topic] = self._counted(publisher.publish, topic)
        elif info.type == _TF_TYPE and topic == '/tf':
            self._advertise_odometry(info.qos)
        elif info.type == _TF_TYPE:
            self._skip(topic, 'tf2_msgs is not installed; give the nodes a calibration file')
        else:
            self._skip(topic, f'message type {info.type} is not installed')

    def _advertise_odometry(self, offers: Sequence[Any]) -> None:
        topic, frame = self._parameters.odometry_topic, self._parameters.odometry_frame
        odometry_type = _import_message(_ODOMETRY_TYPE)
        if topic in self._chosen:
            self._skip('/tf', f'tf2_msgs is not installed, and {topic} is in the bag itself')
            return
        if odometry_type is None:
            self._skip('/tf', 'neither tf2_msgs nor nav_msgs is installed')
            return
        publisher = self._create_publisher(odometry_type, topic, offers)
        publish = self._counted(publisher.publish, topic)
        vehicle = MotionSources(frame, 'base_link')

        def publish_odometry(raw: bytes) -> None:
            try:
                transforms = self._reader.deserialize(raw, _TF_TYPE).transforms
            except BagError as err:
                _log.warning('message skipped: %s', err)
                return
            for transform in transforms:
                parent = transform.header.frame_id.lstrip('/')
                if parent == frame and vehicle.takes('tf', parent, transform.child_frame_id):
                    publish(_odometry_message(odometry_type, transform))

        self._publish['/tf'] = publish_odometry
        _log.info(
            'tf2_msgs is not installed: transforms of %s in /tf are published on %s', frame, topic
        )

    def _create_publisher(
        self, message_type: type, topic: str, offers: Sequence[Any], count: int = 0
    ) -> Any:
        from rclpy.exceptions import NameValidationException

        profile = _profile(topic, offers, count)
        try:
            publisher = self._node.create_publisher(message_type, topic, profile)
        except NameValidationException as err:
            # Then it shows where, on two more lines.
            what = str(err).splitlines()[0].rstrip(':')
            raise ParameterError(f'{topic!r} cannot be a topic: {what}') from err
        self._publishers.append(publisher)
        return publisher

    def _clock_publisher(self) -> Callable[[int], None]:
        from rclpy.qos import qos_profile_system_default
        from rosgraph_msgs.msg import Clock

        publisher = self._node.create_publisher(Clock, '/clock', qos_profile_system_default)

        def publish(stamp_ns: int) -> None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
            publisher.publish(message)

        return publish

    def _counted(self, publish: Callable[[Any], None], topic: str) -> Callable[[Any], None]:
        def count_and_publish(message: Any) -> None:
            publish(message)
            self._sent[topic] += 1

        return count_and_publish

    def _skip(self, topic: str, reason: str) -> None:
        self._skipped[topic] = reason
        _log.warning('%s is not played: %s', topic, reason)

    def _wait_for_subscribers(self) -> list[str]:
        """Wait, for a bounded time, for subscribers; return the topics that have none."""
        deadline = time.monotonic() + self._parameters.wait_for_subscribers
        while True:
            waiting = [p.topic for p in self._publishers if not p.get_subscription_count()]
            waiting += [t for t in self._parameters.wait_for_topics if not self._is_wanted(t)]
            left_s = deadline - time.monotonic()
            if not waiting or left_s <= 0.0:
                return waiting
            longest_s = self._parameters.wait_for_subscribers
            self._progress(
                'waiting for subscribers, s', round(longest_s - left_s), round(longest_s)
            )
            time.sleep(0.02)

    def _is_wanted(self, topic: str) -> bool:
        try:
            return self._node.count_subscribers(topic) > 0
        except ValueError as err:  # rclpy: not a valid topic name
            raise ParameterError(f'cannot wait for {topic}: {err}') from err

    def _wait_for_acknowledgement(self, longest_s: float) -> list[str]:
        from rclpy.duration import Duration

        deadline = time.monotonic() + longest_s
        late = []
        for publisher in self._publishers:
            remaining = max(0.0, deadline - time.monotonic())
            if not publisher.wait_for_all_acked(Duration(seconds=remaining)):
                late.append(publisher.topic)
        return late


def _import_message(name: str) -> type | None:
    """Return the class of `package/msg/Type`, or None if its package is not installed."""
    package, _, message = name.partition('/msg/')
    try:
        found = getattr(importlib.import_module(f'{package}.msg'), message, None)
    except (ImportError, TypeError):  # the latter if there is no package in the name
        return None
    return found if isinstance(found, type) else None


def _profile(topic: str, offers: Sequence[Any], count: int) -> Any:
    """Return the QoS to offer on a topic.

    Args:
        topic: its name.
        offers: the QoS of the recorded publishers (rosbags' `Qos`). If empty, the topic is
            reliable, so that nothing is lost, and /tf_static latched.
        count: messages in the bag. A latched topic keeps all, as there may be many publishers.
    """
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    reliable = all(offer.reliability.name != 'BEST_EFFORT' for offer in offers)
    latched = (
        all(offer.durability.name == 'TRANSIENT_LOCAL' for offer in offers)
        if offers
        else topic.endswith('tf_static')
    )
    return QoSProfile(
        depth=max([_DEPTH, count if latched else 0, *(offer.depth for offer in offers)]),
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _duration(seconds: float) -> str:
    """Return a duration as readable text."""
    for unit, size in (('years', 365.25 * 86400), ('days', 86400), ('hours', 3600)):
        if seconds >= 2 * size:
            return f'{seconds / size:.0f} {unit}'
    return f'{seconds:.0f} s'


def _odometry_message(odometry_type: type, transform: Any) -> Any:
    message = odometry_type()
    message.header.frame_id = transform.header.frame_id
    message.header.stamp.sec = transform.header.stamp.sec
    message.header.stamp.nanosec = transform.header.stamp.nanosec
    message.child_frame_id = transform.child_frame_id
    pose, source = message.pose.pose, transform.transform
    for axis in 'xyz':
        setattr(pose.position, axis, getattr(source.translation, axis))
    for axis in 'xyzw':
        setattr(pose.orientation, axis, getattr(source.rotation, axis))
    return message
