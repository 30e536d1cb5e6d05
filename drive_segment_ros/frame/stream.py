"""From the sensors' messages, in any order, to pairs that are ready for `build`.

All rules for pairing, camera offsets, waiting, clock steps and drops, live and offline. It has no
thread and reads no clock: messages come with the time of their arrival, and all waiting is in
sensor time. Each camera is paired separately, so one that stops, or whose clock is wrong, loses
only its own frames; a sweep is shared by all.

Messages of one sensor may arrive out of order by up to `wait_s` without changing the result; the
order in which messages of different sensors arrive never changes it.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from drive_segment_ros.frame.camera_stream import CameraStream
from drive_segment_ros.frame.clock import SILENT_NS, Clock
from drive_segment_ros.frame.events import CameraInfo, Event, Image, Pose
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing import Item, key_of
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.vehicle import Vehicle
from drive_segment_ros.perception.transforms import TransformTree

_NS = 1e-9


class FrameStream:
    """Pairs the images of a rig's cameras with the sweeps of its LiDAR.

    Every image is returned in a pair, counted in its camera's `drops`, or `pending`; those without
    `Image.counted` are not counted.

    Attributes:
        cameras: by name.
        vehicle: its motion and extrinsics.
        sweep_clock: of the sweeps.
        sweep_drops: sweeps dropped, by reason, see `SWEEP_REASONS`.
        sweeps_used: number of sweeps removed after being paired.
        max_offset_s: of a pair.
    """

    def __init__(
        self,
        params: GeometryParameters,
        cameras: Iterable[str] = (),
        *,
        expects_motion: Callable[[], bool] = lambda: True,
        motion_kinds: Collection[str] = ('odometry', 'tf'),
        calibration: TransformTree | None = None,
        offsets: Mapping[str, float] | None = None,
        on_error: Callable[[str, str], object] = lambda reason, text: None,
    ) -> None:
        """Start without messages.

        Args:
            params: the parameters; `sync` and the names of frames are used.
            cameras: names expected, for reports; others are added when they appear.
            expects_motion: whether odometry is expected and waited for.
            motion_kinds: which kinds of odometry are used, see `Pose.kind`.
            calibration: transforms that take precedence over received ones.
            offsets: known camera offsets, seconds; others are estimated.
            on_error: called with reason and text if a pair is lost because of an error.
        """
        self._sync = params.sync
        self._on_error = on_error
        self._offsets = dict(offsets or {})
        self._jump_back_ns = round(params.sync.jump_back_s / _NS)
        self._max_offset_ns = round(params.sync.max_offset_s / _NS)
        self.max_offset_s = params.sync.max_offset_s
        self.sweep_clock = Clock(self._jump_back_ns)
        self.vehicle = Vehicle(params, motion_kinds, calibration, expects_motion)
        self.cameras: dict[str, CameraStream] = {}
        for name in cameras:
            self.camera(name)
        self.sweep_drops: Counter[str] = Counter()
        self.sweeps_used = 0
        self._sweeps: list[Item] = []
        self._heard_s = -math.inf

    @property
    def sweeps_pending(self) -> int:
        """Number of sweeps kept."""
        return len(self._sweeps)

    def camera(self, name: str) -> CameraStream:
        """Return a camera's stream, created when first used."""
        if name not in self.cameras:
            self.cameras[name] = CameraStream(
                name,
                self._sync,
                self._offsets.get(name, self._sync.fixed_offset_s),
                self.sweep_clock,
                self.vehicle,
                self._on_error,
            )
        return self.cameras[name]

    def push(self, event: Event, now_s: float = 0.0) -> list[Pair]:
        """Add a message; return the pairs that are ready, those of a camera in order.

        Args:
            event: the message.
            now_s: when it arrived, seconds of a monotonic clock.
        """
        self._heard_s = max(now_s, self._heard_s)
        if isinstance(event, Image):
            camera = self.camera(event.camera)
            key, reason = self._key(camera.clock, event.stamp_ns)
            if key is None:
                camera.drop(event, reason)
            else:
                camera.add(event, key, now_s, self._sweeps)
        elif isinstance(event, Sweep):
            key, reason = self._key(self.sweep_clock, event.stamp_ns)
            if key is None:
                self.sweep_drops[reason] += 1
            else:
                bisect.insort(self._sweeps, Item(key, event, now_s), key=key_of)
                self._let_go(len(self._sweeps) - self._sync.queue)
        elif isinstance(event, CameraInfo):
            self.camera(event.camera).model = event.model
        elif isinstance(event, Pose):
            self.vehicle.motion.add(event, self._epoch())
        elif self.vehicle.is_motion(event):
            self.vehicle.motion.add(event.as_pose(), self._epoch())
        else:
            self.vehicle.extrinsics.add(event)
        return self._ready_pairs()

    def expire(self, now_s: float) -> list[Pair]:
        """Decide everything if no message has arrived for a while; to be called periodically.

        Args:
            now_s: of the clock used for `push`.
        """
        return self.finish() if (now_s - self._heard_s) / _NS > SILENT_NS else []

    def finish(self) -> list[Pair]:
        """Decide all waiting images with the messages received so far, as no more follow soon."""
        for camera in self.cameras.values():
            camera.final = True
        try:
            pairs = self._ready_pairs()
        finally:
            for camera in self.cameras.values():
                camera.final = False
        self._let_go(len(self._sweeps))
        return pairs

    @property
    def jumps(self) -> int:
        """Number of times that a sensor's clock was set back."""
        clocks = [camera.clock for camera in self.cameras.values()]
        return sum(clock.jumps for clock in (*clocks, self.sweep_clock, self.vehicle.motion.clock))

    @property
    def awaits(self) -> bool:
        """Whether an image that is counted is not decided yet."""
        return any(camera.awaits for camera in self.cameras.values())

    def stop(self, reason: str) -> None:
        """Drop all waiting images and sweeps, counted under a reason."""
        for camera in self.cameras.values():
            camera.stop(reason)
        self._let_go(len(self._sweeps))

    def _key(self, clock: Clock, stamp_ns: int) -> tuple[int | None, str]:
        """Return a message's key; None, and the reason, if it is unusable."""
        clock.received += 1
        if stamp_ns <= 0:
            return None, 'zero_stamp'
        return clock.take(stamp_ns, self._epoch()), 'duplicate'

    def _epoch(self) -> int:
        """Return the latest epoch of any sensor."""
        cameras = (camera.clock.epoch for camera in self.cameras.values())
        return max(self.sweep_clock.epoch, self.vehicle.motion.clock.epoch, *cameras)

    def _ready_pairs(self) -> list[Pair]:
        cameras = self.cameras.values()
        pairs = [pair for camera in cameras for pair in camera.ready(self._sweeps)]
        if self._sweeps and self.cameras:
            # No later image can be near these sweeps.
            oldest = min(camera.oldest_key for camera in cameras) - self._max_offset_ns
            self._let_go(bisect.bisect_left(self._sweeps, oldest, key=key_of))
        return pairs

    def _let_go(self, count: int) -> None:
        for item in self._sweeps[: max(count, 0)]:
            if item.taken_by:
                self.sweeps_used += 1
            else:
                self.sweep_drops['unused'] += 1
        del self._sweeps[: max(count, 0)]
