"""A frame stream fed by callbacks, and a thread that processes its pairs; without ROS."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from drive_segment_ros.frame.events import CameraInfo, Event, Image
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.nodes.clock_steps import ClockSteps
from drive_segment_ros.nodes.statistics import FlowStatistics
from drive_segment_ros.parameters import parameter
from drive_segment_ros.ros.pair_filter import PairFilter
from drive_segment_ros.worker import Worker

# Longer than a frame takes; then it is abandoned, so that the node ends in time on a signal.
_CLOSE_S = 0.5
# Many times the period at which `expire` is called.
_HELD_UP_S = 1.0


@dataclasses.dataclass(frozen=True)
class PipelineParameters:
    """How many pairs wait for the thread."""

    queue: int = parameter(
        20,
        'pairs of each camera that may wait for processing; the oldest is dropped; 2 s at 10 Hz',
        minimum=1,
        maximum=1000,
    )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a pair.

    Attributes:
        hand_on: publishes the result; returns whether it is a frame.
        moved: whether its points were moved by odometry.
    """

    hand_on: Callable[[], bool]
    moved: bool = False


class FramePipeline:
    """Forms pairs and processes each of them on a separate thread.

    Every image becomes a frame, is unwanted, or is dropped with a reason; every sweep is used or
    dropped; until then it waits. `summary` has the counts. Thread-safe.

    Attributes:
        stream: forms the pairs.
        statistics: counts of messages, frames and losses after pairing.
        clock_steps: detects sensor clocks that were set.
    """

    def __init__(
        self,
        stream: FrameStream,
        parameters: PipelineParameters,
        on_pair: Callable[[Pair], Outcome],
        on_error: Callable[[str, str], None],
    ) -> None:
        """Start the thread.

        Args:
            stream: a new one.
            parameters: the parameters.
            on_pair: called on the pipeline's thread. It does the work and returns the function
                that publishes it, which is not called if the pipeline was closed meanwhile.
            on_error: called with reason and text if a pair is lost because of an error.
        """
        self.stream = stream
        self.statistics = FlowStatistics()
        self.clock_steps = ClockSteps()
        self._began_s = self._expired_s = time.monotonic()
        self._paired_s: dict[str, float] = {}
        self._on_pair = on_pair
        self._on_error = on_error
        self._closing = False
        size = parameters.queue * max(1, len(stream.cameras))
        self._worker: Worker[Pair] = Worker(
            self._process, size=size, on_drop=self._on_drop, name='frames'
        )
        self._pairs = PairFilter(stream)
        self._pairs.registerCallback(self._submit)

    def unpaired_s(self, camera: str) -> float:
        """Return the time since a camera's last pair, or since the start, seconds."""
        return time.monotonic() - self._paired_s.get(camera, self._began_s)

    def has_moving_sensors(self) -> bool:
        """Return whether sensor frames move on the vehicle, so that extrinsics change."""
        with self._pairs.lock:
            return bool(self.stream.vehicle.extrinsics.moving)

    def close(self) -> None:
        """Stop the thread after the current pair; waiting ones are dropped and counted."""
        self._closing = True
        self._pairs.stop('stopped')
        self._worker.close(_CLOSE_S)

    def push(self, event: Event) -> None:
        """Push a message of any sensor."""
        source = _source(event)
        if source:
            self.statistics.received(source)
        if isinstance(event, (Image, Sweep)):
            # Each camera has its own clock.
            name = f'{event.camera} images' if isinstance(event, Image) else source
            self.clock_steps.look(name, event.stamp_ns)
        if self._pairs.push(event):
            return
        if isinstance(event, Image):
            self.statistics.dropped('stopped')
        elif isinstance(event, Sweep):
            self.stream.sweep_drops['unused'] += 1

    def expire(self) -> None:
        """Decide waiting pairs if no messages arrive any more; call it several times a second.

        It does nothing after a delay of the process: messages that arrived during the delay may
        not have been received yet.
        """
        now_s = time.monotonic()
        held_up = now_s - self._expired_s > _HELD_UP_S
        self._expired_s = now_s
        if not held_up:
            self._pairs.expire()

    def summary(self) -> dict[str, Any]:
        """Return counts of messages, frames and losses with reasons, ready for JSON.

        Images received are the sum of `frames`, `unwanted`, `dropped` and `waiting`; `sweeps` has
        the same for sweeps.
        """
        summary = self.statistics.summary()
        cameras = list(self.stream.cameras.values())
        # Copies, as other threads add to them meanwhile.
        drops = Counter(summary['dropped'])
        for camera in cameras:
            drops.update(dict(camera.drops))
        return {
            **summary,
            'pairs': sum(camera.pairs for camera in cameras),
            'dropped': dict(drops),
            'waiting': sum(camera.pending for camera in cameras) + self._worker.pending,
            'sweeps': {
                'used': self.stream.sweeps_used,
                'dropped': dict(self.stream.sweep_drops),
                'waiting': self.stream.sweeps_pending,
            },
        }

    def _submit(self, pair: Pair) -> None:
        self._paired_s[pair.image.camera] = time.monotonic()
        self._worker.submit(pair)

    def _on_drop(self, pair: Pair) -> None:
        self.statistics.dropped('stopped' if self._closing else 'worker_busy')

    def _process(self, pair: Pair) -> None:
        """Process one pair and publish the result."""
        if self._closing:
            if self._worker.commit():
                self.statistics.dropped('stopped')
            return
        try:
            outcome = self._on_pair(pair)
            if not self._worker.commit():
                return
            if outcome.hand_on():
                self.statistics.finished(time.monotonic() - pair.arrival_s, outcome.moved)
            else:
                self.statistics.unwanted()
        except Exception as err:
            reason = reason_of(err)
            # An unexpected error must not end the thread; it is reported.
            known = reason != 'error'
            text = str(err) if known else f'unexpected {type(err).__name__}: {err}'
            if self._worker.commit():
                self.statistics.dropped(reason)
                self._on_error(reason, text)


def _source(event: Event) -> str:
    """Return the source under which a message is counted; transforms and poses are not."""
    if isinstance(event, Image):
        return 'image'
    if isinstance(event, Sweep):
        return 'points'
    return 'camera_info' if isinstance(event, CameraInfo) else ''
