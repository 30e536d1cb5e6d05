"""From messages as they arrive to frames: pairing, waiting for odometry, building; no ROS in it.

Callbacks only hand over. One thread takes pairs in their order, waits a bounded time for what a
pair still lacks, and builds its frame.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import ArrayLike

from drive_segment_ros.errors import (
    CalibrationError,
    CloudError,
    DriveSegmentError,
    ImageError,
)
from drive_segment_ros.nodes.clock_steps import ClockSteps
from drive_segment_ros.nodes.statistics import FlowStatistics
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.motion import JUMP_BACK_NS, Trajectory
from drive_segment_ros.perception.synchronisation import Matcher, Pair
from drive_segment_ros.ros.camera_offset import CameraOffset
from drive_segment_ros.ros.synchronizer import stamp_ns
from drive_segment_ros.worker import Worker


class Builder(Protocol):
    """Makes something of an image and its sweep: a frame, a painted cloud."""

    def times_needed(self, image: Any, camera_info: Any, cloud: Any) -> tuple[int, int] | None:
        """Return the interval, ns, of odometry that `build` can use, None for none."""

    def build(self, image: Any, camera_info: Any, cloud: Any) -> Any:
        """Return what is made, at once or as it is asked for; it has `motion`.

        Raises DriveSegmentError where it cannot be.
        """


# What a lost pair is counted under.
_REASONS: dict[type[DriveSegmentError], str] = {
    ImageError: 'bad_image',
    CloudError: 'bad_cloud',
    CalibrationError: 'bad_calibration',
}
# A transform that arrives is not announced, so a pair that lacks one is looked at anew.
_LOOK_PERIOD_S = 0.05
# A frame takes less; what takes longer is given up, for a signal must end the node in time.
_CLOSE_S = 0.5
# Messages held until the camera's offset is known: 2 s of camera and LiDAR at 10 Hz.
_HELD = 40
_CAMERA = 'camera'


@dataclasses.dataclass(frozen=True)
class PipelineParameters:
    """How long pairs wait, and how many."""

    motion_wait: float = parameter(
        0.3,
        'longest wait, from the arrival of a pair, for odometry that covers it, for camera_info '
        'and for transforms; three periods of 10 Hz odometry',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    queue: int = parameter(
        20,
        'pairs that may wait to be built, the oldest gives way; 2 s at 10 Hz, about 60 MB',
        minimum=1,
        maximum=1000,
    )


@dataclasses.dataclass(frozen=True)
class _Received:
    """A message and when it came, seconds of the monotonic clock."""

    message: Any
    arrival_s: float = dataclasses.field(default_factory=time.monotonic)


class LiveTrajectory(Trajectory):
    """A trajectory that tells of every pose, and starts anew when time runs back."""

    def __init__(self) -> None:
        super().__init__()
        self.on_pose: Callable[[], None] = lambda: None
        self._newest_ns = 0

    def add(self, stamp_ns: int, translation: ArrayLike, quaternion_xyzw: ArrayLike) -> None:
        """Add a pose; see `Trajectory.add`."""
        if stamp_ns < self._newest_ns - JUMP_BACK_NS:
            # After a step of the clock the poses of another time must not be interpolated with.
            self.clear()
            self._newest_ns = stamp_ns
        super().add(stamp_ns, translation, quaternion_xyzw)
        self._newest_ns = max(self._newest_ns, stamp_ns)
        self.on_pose()


class FramePipeline:
    """Pairs images with sweeps and builds their frames on a thread of its own.

    Every image ends as a frame, as not wanted, or dropped under a reason, every sweep as used or
    dropped; until then it waits. `summary` has the counts. Safe across threads.

    Attributes:
        camera_info: the newest received, None before the first.
        matcher: makes the pairs; knows the images that found no sweep.
        statistics: everything that came, left or was lost after pairing.
        clock_steps: knows which sensors' clocks were set.
    """

    def __init__(
        self,
        builder: Builder,
        matcher: Matcher,
        trajectory: LiveTrajectory,
        offset: CameraOffset,
        parameters: PipelineParameters,
        on_frame: Callable[[Any], Callable[[], bool]],
        on_error: Callable[[str, str], None],
        expects_motion: Callable[[], bool],
        check_info: Callable[[Any], None],
    ) -> None:
        """Start the thread.

        Args:
            builder: makes the frames.
            matcher: makes the pairs.
            trajectory: the builder's.
            offset: finds the camera's offset, unless it is given.
            parameters: the parameters.
            on_frame: called on the pipeline's thread with what the builder makes of each pair.
                It does the work and returns what hands it on, which says whether that is a
                frame, or not wanted; it is not called if the pipeline was closed meanwhile.
            on_error: told a source and a text where a pair is lost to an error.
            expects_motion: whether somebody publishes odometry, so that waiting makes sense.
            check_info: raises CalibrationError where a camera_info makes no sense.
        """
        self.camera_info: Any = None
        self.matcher = matcher
        self.statistics = FlowStatistics()
        self.clock_steps = ClockSteps()
        self._paired_s = time.monotonic()
        self._builder = builder
        self._trajectory = trajectory
        trajectory.on_pose = self.notify
        self._offset = offset
        self._image_frame: str | None = None
        self._held: deque[tuple[Callable[..., list[Pair]], _Received]] = deque()
        self._sweeps_to_look_at: deque[Any] = deque(maxlen=_HELD)
        self._held_sweep_drops: Counter[str] = Counter()
        # Images and sweeps may come on different threads.
        self._intake = threading.Lock()
        if offset.value_s is not None:
            matcher.set_offset(_CAMERA, offset.value_s)
        self._parameters = parameters
        self._on_frame = on_frame
        self._on_error = on_error
        self._expects_motion = expects_motion
        self._check_info = check_info
        self._news = threading.Condition()
        self._news_count = 0
        self._closing = False
        self._worker: Worker[Pair] = Worker(
            self._process, size=parameters.queue, on_drop=self._on_drop, name='frames'
        )

    @property
    def camera_offset_s(self) -> float:
        """Seconds added to image stamps before pairing; 0 while not known."""
        return self._offset.value_s or 0.0

    @property
    def unpaired_s(self) -> float:
        """How long ago the last pair was made, or the pipeline, seconds."""
        return time.monotonic() - self._paired_s

    def close(self) -> None:
        """End the thread after the frame in hand; what waits is dropped and counted."""
        with self._intake:
            self._closing = True
            while self._held:
                self._lose_held(*self._held.popleft(), 'stopped')
            self.matcher.stop('stopped')
        self.notify()
        self._worker.close(_CLOSE_S)

    def add_image(self, message: Any) -> None:
        """Take an image, raw or compressed."""
        self.statistics.received('image')
        self._image_frame = message.header.frame_id
        self.clock_steps.look('image', stamp_ns(message))
        self._take(self.matcher.add_image, _Received(message))

    def add_sweep(self, message: Any) -> None:
        """Take a sweep."""
        self.statistics.received('points')
        self.clock_steps.look('points', stamp_ns(message))
        received = _Received(message)
        if self._offset.value_s is None:
            self._sweeps_to_look_at.append(message)
        self._take(self.matcher.add_sweep, received)

    def add_camera_info(self, message: Any) -> None:
        """Take the camera's calibration; the newest that makes sense holds.

        Raises:
            CalibrationError: if it makes none; drivers send zeros before they are calibrated.
        """
        self.statistics.received('camera_info')
        self._check_info(message)
        self.camera_info = message
        self.notify()

    def expire(self) -> None:
        """Decide the images that have waited too long; to be called now and then."""
        with self._intake:
            self._submit(self.matcher.expire())

    def notify(self) -> None:
        """Say that something a pair may be waiting for has arrived."""
        with self._news:
            self._news_count += 1
            self._news.notify_all()

    def summary(self) -> dict[str, Any]:
        """Return what came, left and was lost and why, ready for JSON.

        Images received are `frames`, `unwanted`, `dropped` and `waiting`; `sweeps` says the same
        of sweeps.
        """
        summary = self.statistics.summary()
        matcher = self.matcher
        held = [add for add, _ in tuple(self._held)]
        held_images = held.count(matcher.add_image)
        # Copies, as other threads add to them meanwhile.
        drops = Counter(summary['dropped']) + Counter(dict(matcher.drops))
        sweep_drops = Counter(dict(matcher.sweep_drops)) + Counter(dict(self._held_sweep_drops))
        return {
            **summary,
            'pairs': matcher.pairs,
            'dropped': dict(drops),
            'waiting': held_images + matcher.pending + self._worker.pending,
            'sweeps': {
                'used': matcher.sweeps_used,
                'dropped': dict(sweep_drops),
                'waiting': len(held) - held_images + matcher.sweeps_pending,
            },
        }

    def _take(self, add: Callable[[int, _Received], list[Pair]], received: _Received) -> None:
        """Hand a message to the matcher, or hold it until the camera's offset is known."""
        with self._intake:
            if self._closing:
                self._lose_held(add, received, 'stopped')
            elif self._offset.value_s is not None:
                self._submit(add(stamp_ns(received.message), received))
            else:
                self._hold(add, received)

    def _hold(self, add: Callable[[int, _Received], list[Pair]], received: _Received) -> None:
        self._held.append((add, received))
        self._find_offset()
        if self._offset.value_s is not None:
            self.matcher.set_offset(_CAMERA, self._offset.value_s)
            while self._held:
                held_add, held = self._held.popleft()
                self._submit(held_add(stamp_ns(held.message), held))
            self._sweeps_to_look_at.clear()
        elif len(self._held) > _HELD:
            self._lose_held(*self._held.popleft(), 'bad_calibration')

    def _lose_held(
        self, add: Callable[[int, _Received], list[Pair]], _: _Received, reason: str
    ) -> None:
        if add == self.matcher.add_image:
            self.statistics.dropped(reason)
        else:
            self._held_sweep_drops[reason] += 1

    def _find_offset(self) -> None:
        if self._image_frame is None or self.camera_info is None:
            # Images say which frame is the camera's; that something is waited for is told anyway.
            return
        while self._sweeps_to_look_at and self._offset.value_s is None:
            try:
                self._offset.look(self.camera_info, self._sweeps_to_look_at[0], self._image_frame)
            except CalibrationError as err:
                self._on_error('bad_calibration', str(err))
                return
            self._sweeps_to_look_at.popleft()

    def _camera_info(self) -> Any:
        if self.camera_info is None:
            raise CalibrationError('no usable camera_info has arrived; check its topic and QoS')
        return self.camera_info

    def _submit(self, pairs: list[Pair]) -> None:
        if pairs:
            self._paired_s = time.monotonic()
        for pair in pairs:
            self._worker.submit(pair)

    def _on_drop(self, pair: Pair) -> None:
        self.statistics.dropped('stopped' if self._closing else 'worker_busy')

    def _process(self, pair: Pair) -> None:
        """Build one pair's frame and hand it on."""
        image, sweep = pair.image.message, pair.sweep.message
        arrival_s = max(pair.image.arrival_s, pair.sweep.arrival_s)
        self._wait_until_ready(image, sweep, arrival_s + self._parameters.motion_wait)
        if self._closing:
            if self._worker.commit():
                self.statistics.dropped('stopped')
            return
        try:
            built = self._builder.build(image, self._camera_info(), sweep)
            hand_on = self._on_frame(built)
            if not self._worker.commit():
                return
            if hand_on():
                moved = built.motion != 'none'
                self.statistics.finished(time.monotonic() - arrival_s, moved)
            else:
                self.statistics.unwanted()
        except DriveSegmentError as err:
            self._lose(_REASONS.get(type(err), 'error'), str(err))
        except Exception as err:
            # A defect must not end the thread; it is named, so that it can be mended.
            self._lose('error', f'unexpected {type(err).__name__}: {err}')

    def _lose(self, reason: str, text: str) -> None:
        if not self._worker.commit():
            return
        self.statistics.dropped(reason)
        self._on_error(reason, text)

    def _wait_until_ready(self, image: Any, sweep: Any, deadline_s: float) -> None:
        """Wait for the pair's camera_info, transforms and odometry, as long as time is left."""
        while not self._closing:
            seen = self._news_count
            remaining = deadline_s - time.monotonic()
            if remaining <= 0.0 or self._is_ready(image, sweep):
                return
            with self._news:
                if self._news_count == seen:
                    self._news.wait(min(remaining, _LOOK_PERIOD_S))

    def _is_ready(self, image: Any, sweep: Any) -> bool:
        if self.camera_info is None:
            return False
        try:
            needed = self._builder.times_needed(image, self.camera_info, sweep)
        except CalibrationError:
            # A transform that is missing may still come.
            return False
        except DriveSegmentError:
            # Nothing will mend a broken message.
            return True
        # A pause in the odometry before that is not filled later.
        return needed is None or self._trajectory.reaches(needed[1]) or not self._expects_motion()
