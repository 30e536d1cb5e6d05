"""Runs the nodes in one process, with parameters and remappings as by `ros2 launch`."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DriveSegmentError, ParameterError
from drive_segment_ros.memory import keep_freed_memory
from drive_segment_ros.nodes.executables import NODES, SpunNode, load
from drive_segment_ros.nodes.signals import signals_leave, signals_set

_STATUS_PERIOD_S = 1.0
_POLL_S = 0.02
# Nodes for one camera; with several cameras there is a node for each.
_NODE_A_CAMERA = ('segmentation',)


@dataclasses.dataclass(frozen=True)
class LiveOptions:
    """The options of `live`.

    Attributes:
        node: a key of `executables.NODES`.
        params_file: ROS parameters, YAML.
        calibration_file, model: override the parameters of these names.
        cameras: the namespaces of the cameras, each that of its `image_raw` and `camera_info`.
            With several the segmentation node runs once for each, other nodes once for all.
        remappings: `from:=to` each, as on ROS command lines.
        duration_s: how long to run; None until interrupted.
        assignments: `name=value` each, single parameters; they come after the file's.
    """

    node: str = 'proposals'
    params_file: Path | None = None
    calibration_file: Path | None = None
    cameras: Sequence[str] = ()
    remappings: Sequence[str] = ()
    duration_s: float | None = None
    assignments: Sequence[str] = ()
    model: Path | None = None

    @property
    def namespaces(self) -> list[str]:
        """The cameras' absolute namespaces."""
        return [f'/{camera.strip("/")}' for camera in self.cameras]

    def nodes(self) -> list[dict[str, Any]]:
        """Return the arguments of each node's constructor.

        Raises:
            ParameterError: if a camera is given twice.
        """
        if len(set(self.namespaces)) < len(self.namespaces):
            raise ParameterError(f'a camera is given twice: {", ".join(self.namespaces)}')
        if len(self.cameras) > 1 and self.node in _NODE_A_CAMERA:
            return [{'namespace': namespace} for namespace in self.namespaces]
        return [{}]

    def ros_arguments(self) -> list[str]:
        """Return the options as ROS arguments.

        Raises:
            ParameterError: if a file is missing or a remapping is invalid.
        """
        arguments = ['--ros-args']
        for path in (self.params_file, self.calibration_file):
            if path is not None and not path.is_file():
                raise ParameterError(f'{path}: no such file')
        if self.params_file is not None:
            arguments += ['--params-file', str(self.params_file)]
        if self.calibration_file is not None:
            arguments += ['-p', f'calibration_file:={self.calibration_file}']
        if self.model is not None:
            arguments += ['-p', f'model:={self.model}']
        if len(self.cameras) == 1:
            arguments += ['-r', f'__ns:={self.namespaces[0]}']
        elif self.cameras and self.node not in _NODE_A_CAMERA:
            # Takes precedence over cameras in a parameter file.
            arguments += ['-p', f'cameras:=[{", ".join(self.namespaces)}]']
        for assignment in self.assignments:
            name, equals, value = assignment.partition('=')
            if not equals:
                raise ParameterError(f'{assignment!r} is not of the form name=value')
            arguments += ['-p', f'{name}:={value}']
        for remapping in self.remappings:
            if ':=' not in remapping:
                raise ParameterError(f'remapping {remapping!r} is not of the form from:=to')
            arguments += ['-r', remapping]
        return arguments


def live(
    options: LiveOptions,
    prepare: Callable[[Any], None] = lambda node: None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run nodes until their time is up or they are interrupted (SIGINT, SIGTERM).

    On a terminal a status line on standard error is updated once a second.

    Args:
        options: what to run.
        prepare: called with each node before it is configured, for example to add `frame_sinks`.
        stop: ends the run when set.

    Returns:
        The node's final summary, ready for JSON; for several nodes by camera, as
        `cameras`.

    Raises:
        DriveSegmentError: if the node cannot be configured or activated; the message says why.
        KeyboardInterrupt: if a signal comes while the node loads, which cannot be interrupted:
            its thread is at work until the process ends.
    """
    # For large messages; set before the middleware starts.
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', 'LARGE_DATA')
    with signals_leave():
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        node_class = _class(options.node)
    context = rclpy.Context()
    # ROS's own handlers would shut down the context before the node is deactivated.
    arguments, constructed = options.ros_arguments(), options.nodes()
    try:
        keep_freed_memory()
        rclpy.init(args=arguments, context=context, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as err:  # rcl's own error class is not public
        raise ParameterError(' '.join(str(err).split())) from err
    ended, interrupted = stop or threading.Event(), threading.Event()
    # A second signal does not interrupt the final writing.
    with signals_set(ended, interrupted):
        spun: list[tuple[Any, SpunNode]] = []
        summaries: list[dict[str, Any]] = []
        try:
            try:
                for arguments_of_node in constructed:
                    node = node_class(context=context, **arguments_of_node)
                    spun.append((node, SpunNode(node, context)))
                    prepare(node)
                for transition in ('trigger_configure', 'trigger_activate'):
                    for node, thread in spun:
                        _change(node, thread, getattr(node, transition), interrupted)
                _wait([node for node, _ in spun], options.duration_s, ended)
            finally:
                left = 0
                for node, thread in spun:
                    if thread.end():
                        node.trigger_shutdown()
                        summaries.append(node.summary())
                        node.destroy_node()
                    else:
                        left += 1
        finally:
            # A node that is at work still publishes when it has loaded.
            if not left:
                rclpy.shutdown(context=context)
    if len(summaries) == 1:
        return summaries[0]
    return {'cameras': dict(zip(options.namespaces, summaries, strict=True))}


def _class(name: str) -> Callable[..., Any]:
    if name not in NODES:
        raise ParameterError(f'unknown node {name!r}; there are: {", ".join(NODES)}')
    return load(name)


def _change(
    node: Any, spun: SpunNode, trigger: Callable[[], Any], interrupted: threading.Event
) -> None:
    """Trigger a transition; raise an error with the reason if it fails."""
    from rclpy.lifecycle import TransitionCallbackReturn

    result = spun.call(trigger)
    while not result.done():
        if interrupted.wait(_POLL_S):
            raise KeyboardInterrupt
    if result.result() != TransitionCallbackReturn.SUCCESS:
        raise DriveSegmentError(f'{node.get_name()}: {node.failure}')


def _wait(nodes: Sequence[Any], duration_s: float | None, stop: threading.Event) -> None:
    """Print the subscribed topics; report once a second until the time is up or stopped."""
    from rich.console import Console

    deadline = None if duration_s is None else time.monotonic() + duration_s
    console = Console(stderr=True)
    for node in nodes:
        topics = ', '.join(map(node.resolve_topic_name, node.subscribed_topics()))
        console.print(f'{node.get_name()} is active; it subscribes to {topics}', soft_wrap=True)
    with console.status('waiting for messages') as status:
        while not stop.is_set():
            remaining = _STATUS_PERIOD_S if deadline is None else deadline - time.monotonic()
            if remaining <= 0.0:
                break
            stop.wait(min(_STATUS_PERIOD_S, remaining))
            lines = [status_line(node.summary()) for node in nodes]
            if len(nodes) > 1:
                names = [node.get_namespace().lstrip('/') for node in nodes]
                lines = [f'{name}: {line}' for name, line in zip(names, lines, strict=True)]
            status.update('\n'.join(lines))


def status_line(summary: Mapping[str, Any]) -> str:
    """Return a node's summary as one line of text."""
    parts = [f'{name} {count}' for name, count in summary['received'].items()]
    parts.append(f'frames {summary["frames"]}')
    if summary['latency_median_ms'] is not None:
        parts.append(f'{summary["rate_hz"]} Hz')
        parts.append(
            f'latency {summary["latency_median_ms"]} / {summary["latency_p95_ms"]} ms (median/p95)'
        )
    parts += [f'lost {count} {reason}' for reason, count in summary['dropped'].items()]
    return ' · '.join(parts) or 'waiting for messages'
