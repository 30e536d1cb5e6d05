"""The nodes as executables: each runs until a signal, which is handled in every state.

Slow imports are deferred, so that signals are also handled while they are loaded.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.nodes.signals import SIGNALS, setter

# Node -> module and class; imported on demand, as rclpy may not be installed.
NODES = {
    'proposals': ('drive_segment_ros.nodes.proposals_node', 'ProposalsNode'),
    'recorder': (
        'drive_segment_ros.nodes.pseudo_label_recorder_node',
        'PseudoLabelRecorderNode',
    ),
    'segmentation': ('drive_segment_ros.nodes.segmentation_node', 'SegmentationNode'),
}
# Interval at which a failed node is detected.
_PERIOD_S = 0.1
# Time to finish a callback before a node that is only loading is abandoned.
_PATIENCE_S = 0.5


def proposals_node() -> None:
    """Run the node `proposals_node`."""
    spin('proposals')


def pseudo_label_recorder_node() -> None:
    """Run the node `pseudo_label_recorder_node`."""
    spin('recorder')


def segmentation_node() -> None:
    """Run the node `segmentation_node`."""
    spin('segmentation')


def load(name: str) -> Callable[..., Any]:
    """Return the class of a node; a key of `NODES`."""
    module, cls = NODES[name]
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), cls)
    return loaded


class SpunNode:
    """A node whose callbacks and transitions run on a separate thread.

    So the main thread, where Python runs signal handlers, can always run them.
    """

    def __init__(self, node: Any, context: Any = None) -> None:
        """Start the thread.

        Args:
            node: a `ManagedNode`.
            context: rclpy context of the node; None is the default one.
        """
        from rclpy.executors import SingleThreadedExecutor

        self._node = node
        self._ending = False
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, name='executor', daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function on the thread; return its future."""
        return self._executor.create_task(function)

    def end(self) -> bool:
        """Stop the thread after its current callback.

        Returns:
            False if the node is still loading: that may take minutes and cannot be interrupted,
            but the process may be ended safely.
        """
        self._ending = True
        # When only woken, it would wait again for up to a second, until a timer is due.
        self._executor.create_task(lambda: None)
        deadline = time.monotonic() + _PATIENCE_S
        while self._thread.is_alive():
            if self._node.loading and time.monotonic() > deadline:
                return False
            self._thread.join(0.02)
        self._executor.shutdown()
        return True

    def _spin(self) -> None:
        while not self._ending and self._executor.context.ok():
            try:
                self._executor.spin_once()
            except Exception as err:
                # An error, for example in a service callback, must not stop the whole node.
                self._node.get_logger().error(f'unexpected {type(err).__name__}: {err}')


def spin(name: str, arguments: list[str] | None = None) -> None:
    """Run one node until SIGINT or SIGTERM; the `main` of an executable.

    Further signals do not prevent an orderly shutdown.

    Args:
        name: a key of `NODES`.
        arguments: ROS arguments; None are those of the command line.
    """
    for number in SIGNALS:
        # Nothing has been started yet that would have to be stopped.
        signal.signal(number, lambda *_: os._exit(0))
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from drive_segment_ros.memory import keep_freed_memory

    node_class = load(name)
    keep_freed_memory()
    stop = threading.Event()
    for number in SIGNALS:
        signal.signal(number, setter(stop))
    # ROS's own handlers would shut down the context, and the log, before the node has ended.
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as err:  # rcl's own error class is not public
        raise SystemExit(f'error: {" ".join(str(err).split())}') from None
    try:
        node = node_class()
    except DriveSegmentError as err:
        rclpy.try_shutdown()
        raise SystemExit(f'error: {err}') from None
    spun = SpunNode(node)
    try:
        while not stop.wait(_PERIOD_S) and not node.gave_up:
            pass
    finally:
        for number in SIGNALS:
            # Until the interpreter ends, when handlers no longer exist.
            signal.signal(number, signal.SIG_IGN)
    if not spun.end():
        node.get_logger().info(
            'ended while loading; compiled kernels are kept, nothing was recorded'
        )
        leave(0)
    node.destroy_node()
    rclpy.try_shutdown()
    leave(1 if node.gave_up else 0)


def leave(code: int) -> None:
    """End the process at once.

    A normal exit would wait for threads in native code, or crash.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
