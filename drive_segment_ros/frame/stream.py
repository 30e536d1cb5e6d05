"""From the sensors' messages, in any order, to pairs that are ready to become frames.

The one rule for pairing, camera offsets, waiting, clock steps and drops, live and offline. It has
no thread and looks at no clock: messages come with the time of their arrival, and all waiting is
in the sensors' own time. Each camera is paired by itself, so one that stops, or whose clock is
wrong, costs its own frames only; a sweep is shared by all.

A message that comes no later than `wait_s` behind others of its sensor changes nothing by coming
late, and the order in which different sensors' messages come never does.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError, CloudError
from drive_segment_ros.frame.camera_offset import CameraOffset
from drive_segment_ros.frame.clock import EPOCH_NS, SILENT_NS, Clock
from drive_segment_ros.frame.events import CameraInfo, Event, Image, Pose, Transform
from drive_segment_ros.frame.pairing import Item, Unknown, choose, key_of
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.vehicle import Extrinsics, Motion
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree

_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image, its sweep, and all that is known of the vehicle around them.

    Attributes:
        image: the image.
        sweep: the sweep, shared with the other cameras' pairs.
        camera: the calibration, at the camera's own resolution, of the image's frame.
        camera_offset_s: what was added to the image's stamp for pairing, seconds.
        T_camera_lidar: (4, 4), at the image's instant.
        T_base_lidar: (4, 4), at the sweep's stamp; None where the base frame is not known.
        trajectory: the vehicle's poses around both; empty without odometry.
        arrival_s: when the later of the two came, seconds of the caller's clock.
    """

    image: Image
    sweep: Sweep
    camera: CameraModel
    camera_offset_s: float
    T_camera_lidar: NDArray[np.float64]
    T_base_lidar: NDArray[np.float64] | None
    trajectory: Trajectory
    arrival_s: float = 0.0

    @property
    def offset_s(self) -> float:
        """The sweep's stamp after the image's, seconds."""
        return (self.sweep.stamp_ns - self.image.stamp_ns) * _NS


@dataclasses.dataclass
class _Waiting:
    """A pair that lacks calibration or odometry still; `needed` is a key, once it is known."""

    image: Item
    sweep: Item
    needed: int | None = None


class CameraStream:
    """One camera's images on their way, see `FrameStream`.

    Attributes:
        name: the camera's.
        clock: of its images.
        model: its calibration, None before the first.
        offset: finds what is added to its stamps.
        drops: images dropped, by reason, see `IMAGE_REASONS`.
        pairs: number of images that found a sweep.
        images: those that wait for one, by key.
        waiting: pairs that are not ready.
    """

    def __init__(self, name: str, fixed_offset_s: float | None, jump_back_ns: int) -> None:
        self.name = name
        self.clock = Clock(jump_back_ns)
        self.clock.offset_ns = round((fixed_offset_s or 0.0) / _NS)
        self.model: CameraModel | None = None
        self.offset = CameraOffset(fixed_offset_s)
        self.drops: Counter[str] = Counter()
        self.pairs = 0
        self.images: list[Item] = []
        self.waiting: deque[_Waiting] = deque()
        self.looked_at = -1

    @property
    def pending(self) -> int:
        """Number of images not yet decided, or decided and not ready."""
        return len(self.images) + len(self.waiting)

    def shift(self, offset_ns: int) -> None:
        """Set the offset, for images that wait as well."""
        delta = offset_ns - self.clock.offset_ns
        self.clock.offset_ns = offset_ns
        if self.clock.newest is not None:
            self.clock.newest += delta
        for item in self.images:
            item.key += delta


class FrameStream:
    """Pairs the images of a rig's cameras with the sweeps of its LiDAR.

    Every image ends in a pair, in its camera's `drops` under its reason, or is `pending`.

    Attributes:
        cameras: by name.
        extrinsics: where the sensors are.
        motion: where the vehicle is.
        sweep_clock: of the sweeps.
        sweep_drops: sweeps dropped, by reason, see `SWEEP_REASONS`.
        sweeps_used: number of sweeps let go after serving an image.
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
        on_error: Callable[[str, str], object] = lambda reason, text: None,
    ) -> None:
        """Begin.

        Args:
            params: the parameters; `sync` and the names of frames are used.
            cameras: names expected, for reports; others are added as they come.
            expects_motion: whether odometry is to come, so that it is worth waiting for.
            motion_kinds: which odometry may be taken, see `Pose.kind`.
            calibration: transforms that go before all that are heard.
            on_error: told a reason and a text where a pair is lost to an error.
        """
        sync = params.sync
        self._params = params
        self.max_offset_s = sync.max_offset_s
        self._max_offset_ns = round(sync.max_offset_s / _NS)
        self._wait_ns = round(sync.wait_s / _NS)
        self._jump_back_ns = round(sync.jump_back_s / _NS)
        self._expects_motion = expects_motion
        self.cameras: dict[str, CameraStream] = {}
        for name in cameras:
            self.camera(name)
        self.extrinsics = Extrinsics(calibration)
        self.motion = Motion(
            params.odometry_frame, params.base_frame, self._jump_back_ns, motion_kinds
        )
        self.sweep_clock = Clock(self._jump_back_ns)
        self.sweep_drops: Counter[str] = Counter()
        self.sweeps_used = 0
        self._on_error = on_error
        self._sweeps: list[Item] = []
        self._final = False
        self._heard_s = -math.inf

    @property
    def sweeps_pending(self) -> int:
        """Number of sweeps kept."""
        return len(self._sweeps)

    def camera(self, name: str) -> CameraStream:
        """Return a camera's stream, which begins with its first mention."""
        if name not in self.cameras:
            fixed_s = self._params.sync.fixed_offset_s
            self.cameras[name] = CameraStream(name, fixed_s, self._jump_back_ns)
        return self.cameras[name]

    def push(self, event: Event, now_s: float = 0.0) -> list[Pair]:
        """Take a message; return the pairs that are ready now, in the order of their images.

        Args:
            event: the message.
            now_s: when it came, seconds of a clock that only runs forward.
        """
        self._heard_s = max(now_s, self._heard_s)
        if isinstance(event, Image):
            self._take_image(self.camera(event.camera), event, now_s)
        elif isinstance(event, Sweep):
            self._take_sweep(event, now_s)
        elif isinstance(event, CameraInfo):
            self.camera(event.camera).model = event.model
        elif isinstance(event, Pose):
            self.motion.add(event, self._epoch())
        elif event.stamp_ns is not None and self._is_motion(event):
            self.motion.add(event.as_pose(), self._epoch())
        else:
            self.extrinsics.add(event)
        return self._ready_pairs()

    def expire(self, now_s: float) -> list[Pair]:
        """Decide everything if nothing at all has come for a while; to be called now and then.

        Args:
            now_s: of the clock that `push` was told.
        """
        return self.finish() if (now_s - self._heard_s) / _NS > SILENT_NS else []

    def finish(self) -> list[Pair]:
        """Decide everything that waits, with what is known: no message follows soon."""
        self._final = True
        try:
            pairs = self._ready_pairs()
        finally:
            self._final = False
        self._let_go(len(self._sweeps))
        return pairs

    def stop(self, reason: str) -> None:
        """Give up everything that waits, for a reason."""
        for camera in self.cameras.values():
            if camera.pending:
                camera.drops[reason] += camera.pending
            camera.images.clear()
            camera.waiting.clear()
        self._let_go(len(self._sweeps))

    def _take_image(self, camera: CameraStream, image: Image, now_s: float) -> None:
        key = self._key(camera.clock, image.stamp_ns, camera.drops)
        if key is None:
            return
        bisect.insort(camera.images, Item(key, image, now_s), key=key_of)
        if len(camera.images) > self._params.sync.queue:
            self._decide_oldest(camera, 'queue_full')

    def _take_sweep(self, sweep: Sweep, now_s: float) -> None:
        key = self._key(self.sweep_clock, sweep.stamp_ns, self.sweep_drops)
        if key is None:
            return
        bisect.insort(self._sweeps, Item(key, sweep, now_s), key=key_of)
        self._let_go(len(self._sweeps) - self._params.sync.queue)

    def _key(self, clock: Clock, stamp_ns: int, drops: Counter[str]) -> int | None:
        """Return a message's key; None, and it is counted, where it is of no use."""
        clock.received += 1
        if stamp_ns <= 0:
            drops['zero_stamp'] += 1
            return None
        key = clock.take(stamp_ns, self._epoch())
        if key is None:
            drops['duplicate'] += 1
        return key

    def _epoch(self) -> int:
        """Return the latest epoch of any sensor."""
        cameras = (camera.clock.epoch for camera in self.cameras.values())
        return max(self.sweep_clock.epoch, self.motion.clock.epoch, *cameras)

    def _is_motion(self, transform: Transform) -> bool:
        return transform.parent.lstrip('/') == self._params.odometry_frame.lstrip('/')

    def _ready_pairs(self) -> list[Pair]:
        pairs: list[Pair] = []
        for camera in self.cameras.values():
            if camera.images:
                self._decide(camera)
            if camera.waiting:
                pairs += self._complete(camera)
        self._let_go_of_old_sweeps()
        return pairs

    def _newest(self, camera: CameraStream) -> int:
        """Return the newest key of a camera and the LiDAR."""
        return max(camera.clock.newest or 0, self.sweep_clock.newest or 0)

    def _known(self, clock: Clock, camera: CameraStream) -> float:
        """Return up to where all messages of a sensor are there that are to come."""
        return math.inf if self._final else clock.known(self._newest(camera), self._wait_ns)

    def _decide(self, camera: CameraStream) -> None:
        """Decide a camera's images, oldest first, as far as their partners are known."""
        if camera.offset.value_s is None and not self._find_offset(camera):
            return
        while camera.images:
            images_known = self._known(camera.clock, camera)
            if images_known < camera.images[0].key:
                return  # One before it may come.
            try:
                sweep, reason = choose(
                    camera.name,
                    camera.images,
                    self._sweeps,
                    self._max_offset_ns,
                    images_known,
                    self._known(self.sweep_clock, camera),
                )
            except Unknown:
                return
            self._settle(camera, sweep, reason)

    def _decide_oldest(self, camera: CameraStream, reason: str) -> None:
        """Decide a camera's oldest image with what is known."""
        if camera.offset.value_s is None:
            self._settle(camera, None, 'bad_calibration')
            return
        sweep, _ = choose(
            camera.name, camera.images, self._sweeps, self._max_offset_ns, math.inf, math.inf
        )
        self._settle(camera, sweep, reason)

    def _settle(self, camera: CameraStream, sweep: Item | None, reason: str) -> None:
        image = camera.images.pop(0)
        if sweep is None:
            camera.drops[reason] += 1
            return
        sweep.taken_by.add(camera.name)
        camera.pairs += 1
        camera.waiting.append(_Waiting(image, sweep))

    def _find_offset(self, camera: CameraStream) -> bool:
        """Look for a camera's offset in the sweeps that are known to be next."""
        known = self._known(self.sweep_clock, camera)
        problem = ''
        for item in self._sweeps:
            if not camera.looked_at < item.key <= known:
                continue
            problem = self._look(camera, item)
            if problem or camera.offset.value_s is not None:
                break
        if camera.offset.value_s is None:
            late = self._final or known - camera.images[0].key > SILENT_NS
            problem = problem or ('' if camera.model else _NO_INFO)
            if late and problem:
                self._give_up(camera, known, problem)
            if not late or problem:
                return False
            # Nothing is seen by both, or no sweep comes.
            camera.offset.value_s = 0.0
        camera.shift(round(camera.offset.value_s / _NS))
        return True

    def _look(self, camera: CameraStream, item: Item) -> str:
        """Look at one sweep; return why that is not possible, empty if it is."""
        sweep: Sweep = item.event
        if camera.model is None:
            return _NO_INFO
        frame_id = camera.images[0].event.frame_id or camera.model.frame_id
        try:
            tree = self.extrinsics.at(sweep.stamp_ns)
            T_camera_lidar = tree.camera_from_lidar(frame_id, sweep.frame_id)
        except CalibrationError as err:
            return str(err)
        camera.looked_at = item.key
        camera.offset.look(camera.model, sweep, T_camera_lidar)
        return ''

    def _give_up(self, camera: CameraStream, known: float, problem: str) -> None:
        """Lose the images that have waited for a calibration for too long."""
        while camera.images and (self._final or known - camera.images[0].key > SILENT_NS):
            self._settle(camera, None, 'bad_calibration')
            self._on_error('bad_calibration', problem)

    def _complete(self, camera: CameraStream) -> list[Pair]:
        """Return a camera's pairs that lack nothing, or have lacked it for long enough."""
        pairs: list[Pair] = []
        while camera.waiting:
            waiting = camera.waiting[0]
            given_up = self._final or self._newest(camera) - waiting.sweep.key > SILENT_NS
            try:
                if not given_up and not self._has_motion(camera, waiting):
                    break
                pairs.append(self._pair(camera, waiting))
            except CalibrationError as err:
                if not given_up:
                    break  # It may come.
                self._lose(camera, 'bad_calibration', str(err))
            except CloudError as err:
                self._lose(camera, 'bad_cloud', str(err))
            camera.waiting.popleft()
        return pairs

    def _has_motion(self, camera: CameraStream, waiting: _Waiting) -> bool:
        """Whether all odometry is there that is to come for a pair."""
        sweep = waiting.sweep
        if waiting.needed is None:
            last_ns = max(sweep.event.span_ns()[1], waiting.image.event.stamp_ns)
            waiting.needed = last_ns + sweep.key - sweep.event.stamp_ns
        clock = self.motion.clock
        newest = self._newest(camera)
        return clock.known(newest, self._wait_ns) >= waiting.needed or not self._expects_motion()

    def _pair(self, camera: CameraStream, waiting: _Waiting) -> Pair:
        image: Image = waiting.image.event
        sweep: Sweep = waiting.sweep.event
        if camera.model is None:
            raise CalibrationError(_NO_INFO)
        frame_id = image.frame_id or camera.model.frame_id
        tree = self.extrinsics.at(image.stamp_ns)
        T_camera_lidar = tree.camera_from_lidar(frame_id, sweep.frame_id)
        first_ns, last_ns = sweep.span_ns()
        epoch = (waiting.sweep.key - sweep.stamp_ns) // EPOCH_NS
        return Pair(
            image,
            sweep,
            _named(camera.model, frame_id),
            camera.offset.value_s or 0.0,
            T_camera_lidar,
            self.base_from_lidar(sweep),
            self.motion.around(epoch, min(first_ns, image.stamp_ns), max(last_ns, image.stamp_ns)),
            max(waiting.image.arrival_s, waiting.sweep.arrival_s),
        )

    def base_from_lidar(self, sweep: Sweep) -> NDArray[np.float64] | None:
        """Return (4, 4) T_base_lidar at a sweep's stamp; None where it is not known."""
        try:
            tree = self.extrinsics.at(sweep.stamp_ns)
            return tree.lookup(self._params.base_frame, sweep.frame_id)
        except CalibrationError:
            return None

    def _lose(self, camera: CameraStream, reason: str, text: str) -> None:
        camera.drops[reason] += 1
        self._on_error(reason, text)

    def _let_go_of_old_sweeps(self) -> None:
        """Let sweeps go that no image to come can be near to."""
        if not self._sweeps or not self.cameras:
            return
        oldest = min(self._oldest_key(camera) for camera in self.cameras.values())
        keys = [item.key for item in self._sweeps]
        self._let_go(bisect.bisect_left(keys, oldest - self._max_offset_ns))

    def _oldest_key(self, camera: CameraStream) -> float:
        """Return the key of the oldest image that may still look for a sweep."""
        if camera.offset.value_s is None:
            return self._newest(camera) - 2 * SILENT_NS
        # One that comes out of order by more than it should is served where that costs nothing.
        known = camera.clock.known(self._newest(camera), self._wait_ns) - SILENT_NS // 2
        return min(known, camera.images[0].key) if camera.images else known

    def _let_go(self, count: int) -> None:
        for item in self._sweeps[: max(count, 0)]:
            if item.taken_by:
                self.sweeps_used += 1
            else:
                self.sweep_drops['unused'] += 1
        del self._sweeps[: max(count, 0)]


_NO_INFO = 'no usable camera_info has arrived; check its topic and QoS'


def _named(model: CameraModel, frame_id: str) -> CameraModel:
    return model if model.frame_id == frame_id else dataclasses.replace(model, frame_id=frame_id)
