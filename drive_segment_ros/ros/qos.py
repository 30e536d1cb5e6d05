"""Subscriptions that adapt to the publishers' QoS, and report incompatible QoS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription

from drive_segment_ros.ros.qos_overrides import SUBSCRIPTION, create_with_overrides
from drive_segment_ros.ros.subscriber import SimpleFilter, Subscriber

RELIABILITIES = ('auto', 'reliable', 'best_effort')
_POLICIES = {
    'reliable': ReliabilityPolicy.RELIABLE,
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
}
_LOOK_PERIOD_S = 0.5
# Whether rclpy passes message information, such as the number, to a callback; not in Humble.
_HAS_INFO = hasattr(Subscription, 'CallbackType')


def transient_local(depth: int = 1) -> QoSProfile:
    """Return the profile of latched topics such as /tf_static."""
    return _profile('reliable', depth, DurabilityPolicy.TRANSIENT_LOCAL)


def suitable_reliability(offered: Sequence[ReliabilityPolicy], wanted: str = 'auto') -> str:
    """Return the reliability to subscribe with.

    Best-effort publishers never reach a reliable subscription, while large messages get lost on
    a best-effort one. So `auto` is reliable unless a publisher offers less.

    Args:
        offered: reliability of each publisher; empty while there is none.
        wanted: one of `RELIABILITIES`.
    """
    if wanted != 'auto':
        return wanted
    lesser = ReliabilityPolicy.BEST_EFFORT in offered
    return 'best_effort' if lesser else 'reliable'


class _NumberedSubscriber(Subscriber):
    """A subscriber that records each message's publication sequence number, None without."""

    def __init__(self, note: Callable[[int | None], None], *args: Any, **options: Any) -> None:
        self._note = note
        super().__init__(*args, **options)

    def callback(self, message: Any, info: Any) -> None:
        self._note(info.get('publication_sequence_number'))
        super().callback(message)


class FollowingSubscription(SimpleFilter):
    """A message filter that subscribes again when publishers change their QoS.

    Its subscriptions are `message_filters.Subscriber` if that is installed.
    The publishers' QoS is read twice a second from the ROS graph, which every middleware supports;
    not all support events of incompatible QoS.

    Attributes:
        topic: as given.
        reliability: what the subscription has now: `reliable` or `best_effort`.
        publishers: number of publishers at the last check.
        lost: messages of a single publisher that were not received, by sequence numbers.
        problem: why messages cannot be received, one line; empty if they can.
    """

    def __init__(
        self,
        node: Any,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None] | None = None,
        reliability: str = 'auto',
        depth: int = 5,
        **options: Any,
    ) -> None:
        """Subscribe.

        Args:
            node: rclpy node.
            message_type: message class.
            topic: relative or absolute name.
            callback: called with each message; more may follow by `registerCallback`.
            reliability: one of `RELIABILITIES`.
            depth: of the queue.
            options: for `create_subscription`, such as `callback_group` or `raw`.

        Raises:
            ParameterError: if the user's QoS overrides for the topic are invalid.
        """
        super().__init__()
        if callback is not None:
            self.registerCallback(callback)
        self.topic = topic
        self.publishers = 0
        self.lost = 0
        self._last_number: int | None = None
        self.problem = ''
        self._node = node
        self._message_type = message_type
        self._options = options
        self._wanted = reliability
        self._depth = depth
        self._subscriber: Any = None
        self._advice = "set the reliability parameter to 'auto'"
        self.reliability = suitable_reliability(self._offered(), reliability)
        self._subscribe()
        # Checks must continue while simulated time is paused.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_LOOK_PERIOD_S, self.look, clock=clock)

    def look(self) -> None:
        """Compare with the publishers' QoS; subscribe again if it has changed."""
        offers = self._node.get_publishers_info_by_topic(self.topic)
        self.publishers = len(offers)
        if offers:
            suitable = suitable_reliability(self._offered(), self._wanted)
            if suitable != self.reliability:
                self.reliability = suitable
                self._subscribe()
                self._node.get_logger().info(f'{self.topic}: now subscribed {self.reliability}')
        clashes = []
        for offer in offers:
            fit, reason = qos_check_compatible(offer.qos_profile, self._qos)
            if fit == QoSCompatibility.ERROR:
                clashes.append(f'{offer.node_name} ({reason.strip().rstrip(";")})')
        self.problem = (
            f'{self.topic}: incompatible QoS of {", ".join(clashes)}; {self._advice}'
            if clashes
            else ''
        )

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscriber.sub)

    def _count_lost(self, number: int | None) -> None:
        """Detect lost messages by a message's sequence number."""
        # Publishers number their messages separately; some middlewares do not number them.
        if number is not None and self.publishers <= 1:
            if self._last_number is not None and number > self._last_number:
                self.lost += number - self._last_number - 1
            self._last_number = number
        else:
            self._last_number = None

    def _offered(self) -> list[ReliabilityPolicy]:
        offers = self._node.get_publishers_info_by_topic(self.topic)
        return [offer.qos_profile.reliability for offer in offers]

    def _subscribe(self) -> None:
        if self._subscriber is not None:
            self._node.destroy_subscription(self._subscriber.sub)
        qos = _profile(self.reliability, self._depth)
        kind = partial(_NumberedSubscriber, self._count_lost) if _HAS_INFO else Subscriber
        self._subscriber = create_with_overrides(
            partial(kind, self._node),
            self._node,
            self._message_type,
            self.topic,
            SUBSCRIPTION,
            qos,
            **self._options,
        )
        self._subscriber.registerCallback(self.signalMessage)
        self._qos = qos
        held = qos.reliability.name.lower()
        if held != self.reliability:
            # The user's overrides take precedence.
            self.reliability = self._wanted = held
            self._advice = 'change or remove its qos_overrides'


def _profile(
    reliability: str, depth: int, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=_POLICIES[reliability],
        durability=durability,
    )
