"""Pairing of one camera's images: each waits for its sweep, then for calibration and odometry."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.frame.camera_offset import CameraOffset
from drive_segment_ros.frame.clock import EPOCH_NS, SILENT_NS, Clock
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing import Item, Unknown, choose, key_of
from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.vehicle import Vehicle
from drive_segment_ros.perception.cameras import CameraModel

_NS = 1e-9
_NO_INFO = 'no usable camera_info has arrived; check its topic and QoS'


@dataclasses.dataclass
class _Waiting:
    """A pair that still lacks calibration or odometry; `needed` is a key, once it is known."""

    image: Item
    sweep: Item
    needed: int | None = None


class CameraStream:
    """The images of one camera, see `FrameStream`.

    Attributes:
        name: the camera's.
        clock: of its images.
        model: its calibration, None before the first.
        offset: estimates what is added to its images' instants.
        drops: number of counted images dropped, by reason, see `IMAGE_REASONS`.
        pairs: number of images that were paired with a sweep.
        images: those that wait for a sweep, by key.
        final: whether no message follows soon, so that all images must be decided.
    """

    def __init__(
        self,
        name: str,
        sync: SyncParameters,
        offset_s: float | None,
        sweep_clock: Clock,
        vehicle: Vehicle,
        on_error: Callable[[str, str], object],
    ) -> None:
        """Start without messages.

        Args:
            name: the camera's.
            sync: when an image and a sweep belong together.
            offset_s: what is added to its images' instants; None estimates it.
            sweep_clock: of the sweeps.
            vehicle: its motion and extrinsics.
            on_error: called with reason and text if an image is lost because of an error.
        """
        self.name = name
        self.clock = Clock(round(sync.jump_back_s / _NS))
        self._delay_ns = round(sync.camera_delay_s / _NS)
        self.clock.offset_ns = round((offset_s or 0.0) / _NS) - self._delay_ns
        self.model: CameraModel | None = None
        self.offset = CameraOffset(offset_s)
        self.drops: Counter[str] = Counter()
        self.pairs = 0
        self.images: list[Item] = []
        self.final = False
        self._waiting: deque[_Waiting] = deque()
        self._looked_at = -1
        self._max_offset_ns = round(sync.max_offset_s / _NS)
        self._wait_ns = round(sync.wait_s / _NS)
        self._queue = sync.queue
        self._sweep_clock = sweep_clock
        self._vehicle = vehicle
        self._on_error = on_error

    @property
    def pending(self) -> int:
        """Number of images not yet decided, or decided and not ready."""
        return len(self.images) + len(self._waiting)

    @property
    def awaits(self) -> bool:
        """Whether an image that is counted is not decided, or decided and not ready."""
        waiting = (*self.images, *(pair.image for pair in self._waiting))
        return any(item.event.counted for item in waiting)

    @property
    def oldest_key(self) -> float:
        """The key of the oldest image that may still be paired with a sweep."""
        if self.offset.value_s is None:
            return self._newest() - 2 * SILENT_NS
        # An image that is late by more than allowed is still paired if that costs nothing.
        known = self.clock.known(self._newest(), self._wait_ns) - SILENT_NS // 2
        return min(known, self.images[0].key) if self.images else known

    def add(self, image: Image, key: int, now_s: float, sweeps: Sequence[Item]) -> None:
        """Add an image; if too many wait, decide the oldest with the messages received so far."""
        bisect.insort(self.images, Item(key, image, now_s), key=key_of)
        if len(self.images) <= self._queue:
            return
        if self.offset.value_s is None:
            self._settle(None, 'bad_calibration')
            return
        sweep, _ = choose(self.name, self.images, sweeps, self._max_offset_ns, math.inf, math.inf)
        self._settle(sweep, 'queue_full')

    def drop(self, image: Image, reason: str) -> None:
        """Count an image that becomes no frame."""
        if image.counted:
            self.drops[reason] += 1

    def stop(self, reason: str) -> None:
        """Drop all waiting images and pairs, counted under a reason."""
        for item in (*self.images, *(pair.image for pair in self._waiting)):
            self.drop(item.event, reason)
        self.images.clear()
        self._waiting.clear()

    def ready(self, sweeps: Sequence[Item]) -> list[Pair]:
        """Return the pairs that are ready, in the order of their images.

        Args:
            sweeps: those that are kept, by key.
        """
        if self.images and (self.offset.value_s is not None or self._find_offset(sweeps)):
            self._decide(sweeps)
        return self._complete()

    def _newest(self) -> int:
        """Return the newest key of the camera and the LiDAR."""
        return max(self.clock.newest or 0, self._sweep_clock.newest or 0)

    def _known(self, clock: Clock) -> float:
        """Return the key up to which no further message of a sensor is expected."""
        return math.inf if self.final else clock.known(self._newest(), self._wait_ns)

    def _decide(self, sweeps: Sequence[Item]) -> None:
        """Pair or drop images, oldest first, as far as their candidates are known."""
        while self.images:
            images_known = self._known(self.clock)
            if images_known < self.images[0].key:
                return  # An earlier one may still arrive.
            try:
                sweep, reason = choose(
                    self.name,
                    self.images,
                    sweeps,
                    self._max_offset_ns,
                    images_known,
                    self._known(self._sweep_clock),
                )
            except Unknown:
                return
            self._settle(sweep, reason)

    def _settle(self, sweep: Item | None, reason: str) -> None:
        image = self.images.pop(0)
        if sweep is None:
            self.drop(image.event, reason)
            return
        sweep.taken_by.add(self.name)
        self.pairs += 1
        self._waiting.append(_Waiting(image, sweep))

    def _find_offset(self, sweeps: Sequence[Item]) -> bool:
        """Estimate the camera's offset from the next sweeps."""
        known = self._known(self._sweep_clock)
        problem = ''
        for item in sweeps:
            if not self._looked_at < item.key <= known:
                continue
            problem = self._look(item)
            if problem or self.offset.value_s is not None:
                break
        if self.offset.value_s is None:
            late = self.final or known - self.images[0].key > SILENT_NS
            problem = problem or ('' if self.model else _NO_INFO)
            if late and problem:
                self._give_up(known, problem)
            if not late or problem:
                return False
            # The fields of view do not overlap, or there are no sweeps.
            self.offset.value_s = 0.0
        self._shift(round(self.offset.value_s / _NS) - self._delay_ns)
        return True

    def _look(self, item: Item) -> str:
        """Use one sweep; return why that is not possible, empty if it is."""
        sweep: Sweep = item.event
        if self.model is None:
            return _NO_INFO
        frame_id = self.images[0].event.frame_id or self.model.frame_id
        try:
            tree = self._vehicle.extrinsics.at(sweep.stamp_ns)
            T_camera_lidar = tree.camera_from_lidar(frame_id, sweep.frame_id)
        except CalibrationError as err:
            return str(err)
        self._looked_at = item.key
        self.offset.look(self.model, sweep, T_camera_lidar)
        return ''

    def _give_up(self, known: float, problem: str) -> None:
        """Drop the images that have waited too long for a calibration."""
        while self.images and (self.final or known - self.images[0].key > SILENT_NS):
            image = self.images[0].event
            self._settle(None, 'bad_calibration')
            self._tell(image, 'bad_calibration', problem)

    def _shift(self, offset_ns: int) -> None:
        """Set the offset, also for images that already wait."""
        delta = offset_ns - self.clock.offset_ns
        self.clock.offset_ns = offset_ns
        if self.clock.newest is not None:
            self.clock.newest += delta
        for item in self.images:
            item.key += delta

    def _complete(self) -> list[Pair]:
        """Return the pairs that are complete, or have waited long enough."""
        pairs: list[Pair] = []
        while self._waiting:
            waiting = self._waiting[0]
            given_up = self.final or self._newest() - waiting.sweep.key > SILENT_NS
            try:
                if not given_up and not self._has_motion(waiting):
                    break
                pairs.append(self._pair(waiting))
            except CalibrationError as err:
                if not given_up:
                    break  # It may still arrive.
                self._lose(waiting, 'bad_calibration', str(err))
            except Exception as err:
                # No error may block the images behind it.
                reason = reason_of(err)
                text = f'unexpected {type(err).__name__}: {err}'
                self._lose(waiting, reason, text if reason == 'error' else str(err))
            self._waiting.popleft()
        return pairs

    def _has_motion(self, waiting: _Waiting) -> bool:
        """Whether no further odometry is expected for a pair."""
        sweep = waiting.sweep
        if waiting.needed is None:
            last_ns = max(sweep.event.span_ns()[1], self._instant_ns(waiting.image.event))
            waiting.needed = last_ns + sweep.key - sweep.event.stamp_ns
        known = self._vehicle.motion.clock.known(self._newest(), self._wait_ns)
        return known >= waiting.needed or not self._vehicle.expects_motion()

    def _pair(self, waiting: _Waiting) -> Pair:
        image: Image = waiting.image.event
        sweep: Sweep = waiting.sweep.event
        if self.model is None:
            raise CalibrationError(_NO_INFO)
        model = self.model
        if image.frame_id and image.frame_id != model.frame_id:
            model = dataclasses.replace(model, frame_id=image.frame_id)
        instant_ns = self._instant_ns(image)
        tree = self._vehicle.extrinsics.at(instant_ns)
        first_ns, last_ns = sweep.span_ns()
        return Pair(
            image,
            sweep,
            model,
            instant_ns,
            self.offset.value_s or 0.0,
            tree.camera_from_lidar(model.frame_id, sweep.frame_id),
            self._vehicle.base_from_lidar(sweep),
            self._vehicle.motion.around(
                (waiting.sweep.key - sweep.stamp_ns) // EPOCH_NS,
                min(first_ns, instant_ns),
                max(last_ns, instant_ns),
            ),
            max(waiting.image.arrival_s, waiting.sweep.arrival_s),
        )

    def _instant_ns(self, image: Image) -> int:
        return image.stamp_ns - self._delay_ns

    def _lose(self, waiting: _Waiting, reason: str, text: str) -> None:
        self.drop(waiting.image.event, reason)
        self._tell(waiting.image.event, reason, text)

    def _tell(self, image: Image, reason: str, text: str) -> None:
        if image.counted:
            self._on_error(reason, text)
