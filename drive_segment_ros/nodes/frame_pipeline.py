"""A frame stream fed by callbacks, and a thread that works on the pairs it makes; no ROS in it."""

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

# A frame takes less; what takes longer is given up, for a signal must end the node in time.
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
    """What became of a pair.

    Attributes:
        hand_on: hands on what was made of it; says whether that is a frame, or not wanted.
        moved: whether its points were moved by odometry.
    """

    hand_on: Callable[[], bool]
    moved: bool = False


class FramePipeline:
    """Pairs what it is told and has each pair worked on, on a thread of its own.

    Every image ends as a frame, as not wanted, or dropped under a reason, every sweep as used or
    dropped; until then it waits. `summary` has the counts. Safe across threads.

    Attributes:
        stream: makes the pairs.
        statistics: everything that came, left or was lost after pairing.
        clock_steps: knows which sensors' clocks were set.
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
            stream: fresh.
            parameters: the parameters.
            on_pair: called on the pipeline's thread. It does the work and returns what hands it
                on, which is not called if the pipeline was closed meanwhile.
            on_error: told a reason and a text where a pair is lost to an error.
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
        """Return how long ago a camera's last pair was made, or the pipeline, seconds."""
        return time.monotonic() - self._paired_s.get(camera, self._began_s)

    def has_moving_sensors(self) -> bool:
        """Tell whether frames move on the vehicle, so that extrinsics hold for one image each."""
        with self._pairs.lock:
            return bool(self.stream.vehicle.extrinsics.moving)

    def close(self) -> None:
        """End the thread after the pair in hand; what waits is dropped and counted."""
        self._closing = True
        self._pairs.stop('stopped')
        self._worker.close(_CLOSE_S)

    def push(self, event: Event) -> None:
        """Take a message of any sensor."""
        source = _source(event)
        if source:
            self.statistics.received(source)
        if isinstance(event, (Image, Sweep)):
            # Each camera has a clock of its own.
            name = f'{event.camera} images' if isinstance(event, Image) else source
            self.clock_steps.look(name, event.stamp_ns)
        if self._pairs.push(event):
            return
        if isinstance(event, Image):
            self.statistics.dropped('stopped')
        elif isinstance(event, Sweep):
            self.stream.sweep_drops['unused'] += 1

    def expire(self) -> None:
        """Decide what waits where nothing comes any more; to be called several times a second.

        Not by a process that was held up: what has come meanwhile is still to be taken.
        """
        now_s = time.monotonic()
        held_up = now_s - self._expired_s > _HELD_UP_S
        self._expired_s = now_s
        if not held_up:
            self._pairs.expire()

    def summary(self) -> dict[str, Any]:
        """Return what came, left and was lost and why, ready for JSON.

        Images received are `frames`, `unwanted`, `dropped` and `waiting`; `sweeps` says the same
        of sweeps.
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
        """Work on one pair and hand on what comes of it."""
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
            # A defect must not end the thread; it is named, so that it can be fixed.
            known = reason != 'error'
            text = str(err) if known else f'unexpected {type(err).__name__}: {err}'
            if self._worker.commit():
                self.statistics.dropped(reason)
                self._on_error(reason, text)


def _source(event: Event) -> str:
    """Return what messages are counted under; those of transforms and poses are not."""
    if isinstance(event, Image):
        return 'image'
    if isinstance(event, Sweep):
        return 'points'
    return 'camera_info' if isinstance(event, CameraInfo) else ''
