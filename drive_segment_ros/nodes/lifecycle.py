"""The base of the lifecycle nodes: symmetric transitions, guarded callbacks, entities by state.

A node creates publishers in `configure` and subscriptions and timers in `activate`; leaving the
state destroys them. An error makes a transition fail; in a callback it is counted and logged.
Neither ends the node.
"""

from __future__ import annotations

import collections
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.validate_namespace import validate_namespace

from drive_segment_ros.compiled_kernels import cold_notice
from drive_segment_ros.errors import DriveSegmentError, ParameterError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.ros.diagnostics import ERROR, OK, TOPIC, Diagnostics, Status
from drive_segment_ros.ros.library_log import LibraryLog
from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.qos_overrides import PUBLISHER, create_with_overrides, unused_overrides

_REPEAT_LOG_S = 5.0
# The time window of the diagnostics.
_RECENT_S = 10.0


def exit_on_failure() -> Any:
    """Declare the parameter of this name: a field of a node's parameter dataclass."""
    return parameter(
        False,
        'end the process with exit code 1 if configuring or activating fails, so that a launch or '
        'a supervisor notices; otherwise the node waits to be configured again',
    )


class ManagedNode(LifecycleNode):
    """A lifecycle node whose subclasses implement `configure`, `activate` and their reverses.

    Attributes:
        loading: whether it is being configured or activated, which may take minutes, cannot be
            interrupted and has nothing to save yet.
        gave_up: whether a transition failed and the parameter `exit_on_failure` is set.
        failure: why the last transition failed; empty if it succeeded.
        errors: number of messages or calls that failed, by topic or timer.
        last_error: message of the last one, by topic or timer.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Create the node.

        Raises:
            ParameterError: if its namespace, or a parameter of ROS itself, is invalid.
        """
        namespace = str(kwargs.get('namespace') or '/')
        try:
            # Before a node is begun: rcl cannot undo one whose namespace is invalid.
            validate_namespace(namespace if namespace.startswith('/') else f'/{namespace}')
            super().__init__(name, **kwargs)
        except (NameValidationException, ParameterException) as err:
            what = ' '.join(str(err).split()).rstrip(' ^')
            raise ParameterError(f'{name}: {what}') from err
        self._take_level_of_bare_name()
        self._library_log: LibraryLog | None = None
        self.loading = self.gave_up = False
        self.failure = ''
        self.errors: collections.Counter[str] = collections.Counter()
        self.last_error: dict[str, str] = {}
        self._error_time: dict[str, float] = {}
        self._owned_subscriptions: list[Any] = []
        self._owned_timers: list[Any] = []
        self._owned_publishers: list[Any] = []
        # Evaluated later, as it may depend on parameters that are not declared yet.
        self._diagnostics = Diagnostics(
            self,
            lambda: {'state': self._state_status, **self.diagnostic_parts()},
            lambda: self.hardware_id(),
        )

    # To be implemented by a subclass.

    def configure(self) -> None:
        """Read parameters, load and warm up, advertise; may raise DriveSegmentError."""

    def activate(self) -> None:
        """Subscribe and start working; may raise DriveSegmentError."""

    def deactivate(self) -> None:
        """Stop working; subscriptions and timers are already destroyed."""

    def cleanup(self) -> None:
        """Free the resources of `configure`; publishers are destroyed automatically."""

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Return the status functions for /diagnostics, by name; called in every state."""
        return {}

    def hardware_id(self) -> str:
        """Return the sensor that the diagnostics are about."""
        return ''

    def subscribed_topics(self) -> Sequence[str]:
        """Return all topics that may be subscribed to, for QoS overrides."""
        return ()

    # To be used by a subclass.

    @property
    def state(self) -> str:
        """The lifecycle state: `unconfigured`, `inactive`, `active`, `finalized` or in between."""
        label: str = self._state_machine.current_state[1]
        return label

    def advertise(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        """Create a publisher that publishes while active and is destroyed in `cleanup`.

        Raises:
            ParameterError: if the user's QoS overrides for the topic are invalid.
        """
        # A copy: the profile is modified by the user's overrides for this topic only.
        own = copy.copy(qos)
        publisher = create_with_overrides(
            self.create_lifecycle_publisher, self, message_type, topic, PUBLISHER, own
        )
        self._owned_publishers.append(publisher)
        return publisher

    def own(self, subscription: Any) -> Any:
        """Register a subscription to be destroyed in `deactivate`; return it."""
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
        """Subscribe, guarded and with the publishers' QoS, until `deactivate`."""
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
                # An unexpected error must not end the node, but is reported.
                self.note_error(source, f'unexpected {type(err).__name__}: {err}')

        return call

    def note_error(self, source: str, text: str) -> None:
        """Count an error by source and log it, at most every few seconds."""
        self.errors[source] += 1
        self.last_error[source] = text
        self._error_time[source] = time.monotonic()
        self.get_logger().error(f'{source}: {text}', throttle_duration_sec=_REPEAT_LOG_S)

    def recent_errors(self) -> dict[str, str]:
        """Return the messages of the errors of the last seconds, by source."""
        oldest = time.monotonic() - _RECENT_S
        # Copies, as other threads may modify both.
        errors = dict(self.last_error)
        return {k: text for k, text in errors.items() if self._error_time.get(k, 0.0) >= oldest}

    def tell_if_cold(self, kernels: str) -> None:
        """Log how long compiling will take if `FRAMES` or `VIEW` are not compiled yet."""
        if notice := cold_notice(kernels):
            self.get_logger().warning(notice)

    def report(self) -> None:
        """Publish the diagnostics immediately, from work that blocks their timer."""
        self._diagnostics.report()

    def set_parameters_atomically(self, parameter_list: Sequence[Parameter]) -> Any:
        """Set parameters atomically; unchanged values are accepted in any state, even read-only.

        Otherwise dumped parameters could not be loaded: every ROS node has read-only parameters.
        """
        from rcl_interfaces.msg import SetParametersResult

        changed = [parameter for parameter in parameter_list if not self._has_already(parameter)]
        if parameter_list and not changed:
            return SetParametersResult(successful=True)
        return super().set_parameters_atomically(changed)

    def _has_already(self, parameter: Parameter) -> bool:
        if not self.has_parameter(parameter.name):
            return False
        present = self.get_parameter(parameter.name)
        return bool(present.type_ == parameter.type_ and present.value == parameter.value)

    def destroy_node(self) -> None:
        """End the node."""
        if self._library_log is not None:
            self._library_log.close()
        super().destroy_node()

    # rclpy's side of the transitions.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`; undo it on failure."""
        if self._library_log is None:
            # Registered only now, after a successful constructor.
            self._library_log = LibraryLog(self.get_logger())
        result = self._transition('configured', self.configure, self._free)
        if result == TransitionCallbackReturn.SUCCESS:
            self._name_unused_overrides()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, run `activate`; undo both on failure."""
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
        """Free everything in any state."""

        def free() -> None:
            if state.label == 'active':
                self._stop()
            if state.label in ('active', 'inactive'):
                self._free()

        return self._transition('shut down', free)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured, from where the node can be configured again."""
        return TransitionCallbackReturn.SUCCESS

    def _transition(
        self, done: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        self.loading = undo is not None
        try:
            action()
        except Exception as err:
            known = isinstance(err, DriveSegmentError)
            self.failure = str(err) if known else f'unexpected {type(err).__name__}: {err}'
            self.get_logger().error(f'not {done}: {self.failure}')
            if undo is not None:
                self.guarded(undo, f'not {done}')()
                self.gave_up = self._exits_on_failure()
            return TransitionCallbackReturn.FAILURE
        finally:
            self.loading = False
        self.failure = ''
        self.get_logger().info(done)
        return TransitionCallbackReturn.SUCCESS

    def _state_status(self) -> Status:
        if self.failure:
            return Status(ERROR, self.failure)
        return Status(OK, self.state)

    def _name_unused_overrides(self) -> None:
        published = [TOPIC, *(publisher.topic_name for publisher in self._owned_publishers)]
        unused = unused_overrides(self, published, self.subscribed_topics())
        if unused:
            self.get_logger().warning(
                f'ignored, QoS overrides of topics not of this node: {", ".join(unused)}'
            )

    def _take_level_of_bare_name(self) -> None:
        """Apply `--log-level NODE:=debug` also in a namespace, which is part of logger names."""
        level = rclpy.logging.get_logger_level(self.get_name())
        if self.get_logger().name != self.get_name() and level != LoggingSeverity.UNSET:
            self.get_logger().set_level(level)

    def _exits_on_failure(self) -> bool:
        name = 'exit_on_failure'
        return self.has_parameter(name) and bool(self.get_parameter(name).value)

    def _stop(self) -> None:
        while self._owned_timers:
            self.destroy_timer(self._owned_timers.pop())
        while self._owned_subscriptions:
            self._owned_subscriptions.pop().destroy()
        self.deactivate()

    def _free(self) -> None:
        try:
            self.cleanup()
        finally:
            while self._owned_publishers:
                self.destroy_lifecycle_publisher(self._owned_publishers.pop())
