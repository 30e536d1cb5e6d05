"""Extrinsics and the vehicle's motion from live topics: /tf_static, /tf and odometry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.frame.events import Event
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.ros import transform_topics
from drive_segment_ros.ros.clock_hint import clock_hint
from drive_segment_ros.ros.events import pose_event, stamp_ns, transform_event
from drive_segment_ros.ros.qos import FollowingSubscription

MOTION_SOURCES = ('auto', 'tf', 'odometry', 'none')
_DEPTH = 100
# From the first waiting pair on; a player's first messages of all topics arrive earlier.
_PROMISED_S = 5.0


def motion_kinds(motion_source: str) -> tuple[str, ...]:
    """Return which kinds of poses a frame stream may use as the vehicle's.

    Args:
        motion_source: one of `MOTION_SOURCES`; `auto` takes of /tf and odometry the one whose
            frames fit best, as `extract` does, see `MotionSources`.

    Raises:
        ParameterError: if it is unknown or needs a package that is missing.
    """
    if motion_source not in MOTION_SOURCES:
        raise ParameterError(
            f'motion_source is {motion_source!r}; choose one of {", ".join(MOTION_SOURCES)}'
        )
    if motion_source == 'tf' and transform_topics.message_type() is None:
        raise ParameterError(
            'motion_source is tf, but the package tf2_msgs is not installed; use odometry'
        )
    return {'auto': ('odometry', 'tf'), 'none': ()}.get(motion_source, (motion_source,))


class VehicleListener:
    """Pushes transforms and poses into a frame stream, as far as they can be read here.

    Without the package tf2_msgs (not on PyPI) /tf cannot be subscribed to: extrinsics then come
    from a calibration file and motion from nav_msgs/Odometry.
    """

    def __init__(
        self,
        node: Any,
        stream: FrameStream,
        push: Callable[[Event], None],
        kinds: tuple[str, ...],
        odometry_topic: str = 'odom',
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Subscribe.

        Args:
            node: rclpy node.
            stream: whose problems are reported.
            push: passes events to the stream.
            kinds: of `motion_kinds`.
            odometry_topic: nav_msgs/Odometry.
            clock: seconds, monotonic.

        Raises:
            ParameterError: if the user's QoS overrides are invalid; nothing is subscribed to then.
        """
        self._node = node
        self._stream = stream
        self._push = push
        self._clock = clock
        self._promised_s: float | None = None
        self._clock_hint = ''
        self._told: set[str] = set()
        self._motion_topics: list[str] = []
        self._transforms: Any = None
        self._odometry: FollowingSubscription | None = None
        try:
            self._subscribe(kinds, odometry_topic)
        except BaseException:
            self.destroy()
            raise

    def destroy(self) -> None:
        """End the subscriptions."""
        if self._transforms is not None:
            self._transforms.unregister()
        if self._odometry is not None:
            self._odometry.destroy()
        self._transforms = self._odometry = None

    @property
    def motion_source(self) -> str:
        """The kind of poses in use: `tf`, `odometry`, or `none` so far."""
        taken = self._stream.vehicle.motion.sources.taken
        return 'none' if taken is None else taken.kind

    def expects_motion(self) -> bool:
        """Return whether odometry is published or was received.

        A publisher of /tf may not publish odometry: it is waited for some seconds only.
        """
        if self._stream.vehicle.motion.sources.taken is not None:
            return True
        if not any(map(self._node.get_publishers_info_by_topic, self._motion_topics)):
            self._promised_s = None
            return False
        now_s = self._clock()
        if self._promised_s is None:
            self._promised_s = now_s
        return now_s - self._promised_s < _PROMISED_S

    @property
    def problem(self) -> str:
        """What is wrong, one line; empty if nothing is."""
        unheard = '' if self._odometry is None else self._odometry.problem
        return '; '.join(told for told in (unheard, self._clock_hint, *self._problems()) if told)

    def set_transform(self, transform: Any, authority: str = '') -> None:
        """Take a geometry_msgs/TransformStamped of /tf."""
        self._push(transform_event(transform, static=False))
        self._tell()

    def set_transform_static(self, transform: Any, authority: str = '') -> None:
        """Take a geometry_msgs/TransformStamped of /tf_static."""
        self._push(transform_event(transform, static=True))
        self._tell()

    def on_odometry(self, message: Any) -> None:
        """Handle a nav_msgs/Odometry."""
        self._clock_hint = clock_hint(self._node, 'odometry', stamp_ns(message))
        self._push(pose_event(message))
        self._tell()

    def _subscribe(self, kinds: tuple[str, ...], odometry_topic: str) -> None:
        if transform_topics.message_type() is not None:
            self._motion_topics += ['/tf'] if 'tf' in kinds else []
            self._transforms = transform_topics.listen(self._node, self)
        if 'odometry' in kinds:
            from nav_msgs.msg import Odometry

            self._motion_topics.append(odometry_topic)
            self._odometry = FollowingSubscription(
                self._node, Odometry, odometry_topic, depth=_DEPTH
            )
            self._odometry.registerCallback(self.on_odometry)

    def _problems(self) -> list[str]:
        motion = self._stream.vehicle.motion
        told = [motion.problem, *self._stream.vehicle.extrinsics.problems.values()]
        # /tf that repeats the odometry, or a trailer's frame, is not a problem.
        odd = [other for other in motion.sources.others if other.kind == 'odometry']
        if odd:
            told.append(
                f'several odometries: {motion.sources.taken} is used, '
                f'{", ".join(map(str, odd))} ignored; remap odom, or set odometry_frame and '
                'base_frame'
            )
        return told

    def _tell(self) -> None:
        """Log new problems once."""
        for text in self._problems():
            if text and text not in self._told:
                self._told.add(text)
                self._node.get_logger().warning(text)
