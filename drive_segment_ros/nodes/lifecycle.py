"""What our lifecycle nodes share: symmetric transitions, guarded callbacks, entities by state.

A node creates publishers in `configure` and subscriptions and timers in `activate`; leaving the
state destroys them. An error in a transition refuses it, an error in a callback is counted and
logged; neither ends the node.
"""

from __future__ import annotations

import collections
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.memory import keep_freed_memory
from drive_segment_ros.nodes.signals import SIGNALS
from drive_segment_ros.ros.diagnostics import ERROR, OK, Diagnostics, Status
from drive_segment_ros.ros.qos import FollowingSubscription

_REPEAT_LOG_S = 5.0
# As long as a figure of the diagnostics looks back.
_RECENT_S = 10.0
# How late one may be noticed.
_SIGNAL_PERIOD_S = 0.1


class ManagedNode(LifecycleNode):
    """A lifecycle node of which a subclass fills in `configure`, `activate` and their mirrors.

    Attributes:
        failure: why the last transition was refused; empty when it was not.
        errors: number of messages or calls that failed, by topic or timer.
        last_error: what was said about the last of them, by topic or timer.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.failure = ''
        self.errors: collections.Counter[str] = collections.Counter()
        self.last_error: dict[str, str] = {}
        self._error_time: dict[str, float] = {}
        self._owned_subscriptions: list[Any] = []
        self._owned_timers: list[Any] = []
        self._owned_publishers: list[Any] = []
        parts = {'state': self._state_status, **self.diagnostic_parts()}
        self._diagnostics = Diagnostics(self, parts)

    # What a subclass fills in.

    def configure(self) -> None:
        """Read parameters, load and warm up, advertise; may raise DriveSegmentError."""

    def activate(self) -> None:
        """Subscribe and start working; may raise DriveSegmentError."""

    def deactivate(self) -> None:
        """Stop working; subscriptions and timers are gone already."""

    def cleanup(self) -> None:
        """Free what `configure` made; publishers go by themselves."""

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Return what reports on /diagnostics, by name; asked once, in every state."""
        return {}

    # What a subclass uses.

    def advertise(self, message_type: type, topic: str, qos: Any) -> Any:
        """Create a publisher that publishes while active and goes with `cleanup`."""
        publisher = self.create_lifecycle_publisher(message_type, topic, qos)
        self._owned_publishers.append(publisher)
        return publisher

    def own(self, subscription: Any) -> Any:
        """Have `deactivate` destroy a subscription made by this node's helpers; return it."""
        self._owned_subscriptions.append(subscription)
        return subscription

    def subscribe(
        self,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        reliability: str,
        depth: int,
    ) -> FollowingSubscription:
        """Subscribe, guarded and with the QoS that publishers offer, until `deactivate`."""
        guarded = self.guarded(callback, topic)
        return self.own(
            FollowingSubscription(self, message_type, topic, guarded, reliability, depth)
        )

    def every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Call back periodically, guarded, by the wall clock, until `deactivate`."""
        clock = rclpy.clock.Clock(clock_type=rclpy.clock.ClockType.STEADY_TIME)
        name = getattr(callback, '__name__', 'timer')
        timer = self.create_timer(period_s, self.guarded(callback, name), clock=clock)
        self._owned_timers.append(timer)

    def guarded(self, function: Callable[..., None], source: str) -> Callable[..., None]:
        """Return the function with its errors counted in `errors` and logged, never raised."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except DriveSegmentError as err:
                self.note_error(source, str(err))
            except Exception as err:
                # A defect of ours must not take the vehicle's node down; it must be seen, though.
                self.note_error(source, f'unexpected {type(err).__name__}: {err}')

        return call

    def note_error(self, source: str, text: str) -> None:
        """Count an error under its source and log it, every few seconds at most."""
        self.errors[source] += 1
        self.last_error[source] = text
        self._error_time[source] = time.monotonic()
        self.get_logger().error(f'{source}: {text}', throttle_duration_sec=_REPEAT_LOG_S)

    def recent_errors(self) -> dict[str, str]:
        """Return what was said about the errors of the last seconds, by source."""
        oldest = time.monotonic() - _RECENT_S
        # A copy, as other threads add to both meanwhile.
        errors = dict(self.last_error)
        return {k: text for k, text in errors.items() if self._error_time.get(k, 0.0) >= oldest}

    def report(self) -> None:
        """Publish the diagnostics at once, from work that keeps their timer waiting."""
        self._diagnostics.report()

    # rclpy's side of the transitions.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`; undo it if refused."""
        return self._transition('configured', self.configure, self._free)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, run `activate`; undo both if refused."""
        super().on_activate(state)

        def undo() -> None:
            super(ManagedNode, self).on_deactivate(state)
            self._stop()

        return self._transition('active', self.activate, undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy subscriptions and timers, run `deactivate`, disable the publishers."""
        result = self._transition('inactive', self._stop)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup` and destroy the publishers."""
        return self._transition('cleaned up', self._free)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, whatever the state."""

        def free() -> None:
            if state.label == 'active':
                self._stop()
            if state.label in ('active', 'inactive'):
                self._free()

        return self._transition('shut down', free)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured, from where the node can be configured again."""
        return TransitionCallbackReturn.SUCCESS

    def _transition(
        self, done: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as err:
            known = isinstance(err, DriveSegmentError)
            self.failure = str(err) if known else f'unexpected {type(err).__name__}: {err}'
            self.get_logger().error(f'not {done}: {self.failure}')
            if undo is not None:
                undo()
            return TransitionCallbackReturn.FAILURE
        self.failure = ''
        self.get_logger().info(done)
        return TransitionCallbackReturn.SUCCESS

    def _state_status(self) -> Status:
        if self.failure:
            return Status(ERROR, self.failure)
        return Status(OK, self._state_machine.current_state[1])

    def _stop(self) -> None:
        while self._owned_timers:
            self.destroy_timer(self._owned_timers.pop())
        while self._owned_subscriptions:
            self._owned_subscriptions.pop().destroy()
        self.deactivate()

    def _free(self) -> None:
        self.cleanup()
        while self._owned_publishers:
            self.destroy_lifecycle_publisher(self._owned_publishers.pop())


def spin(node_class: Callable[[], ManagedNode], arguments: list[str] | None = None) -> None:
    """Run one node until SIGINT or SIGTERM comes: an executable's `main`.

    Further signals do not keep the node from ending what it has begun.
    """
    keep_freed_memory()
    stop = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    # ROS's own handlers would end the context, and with it the log, before the node has ended.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = node_class()
    except DriveSegmentError as err:
        rclpy.try_shutdown()
        raise SystemExit(f'error: {err}') from None
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            # A signal does not interrupt the executor's waiting.
            executor.spin_once(timeout_sec=_SIGNAL_PERIOD_S)
    finally:
        for number in SIGNALS:
            # Up to the interpreter's end, where a handler would not be there any more.
            signal.signal(number, signal.SIG_IGN)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
