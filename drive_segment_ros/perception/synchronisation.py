"""Which image belongs to which LiDAR sweep: a matcher that live nodes and offline tools share.

The rule, per camera: an image takes the nearest free sweep within `max_offset_s`, unless a later
image is nearer to that sweep and would choose it too; then it takes the next nearest free sweep or
is dropped. A sweep may serve several cameras but only one image of each.

Whatever the rule needs to know about the future it waits for, so pairs depend on the order of
stamps inside each stream and never on how streams interleave on arrival: a drive pairs alike on
the road and from its bag. To keep the waiting short, the next message of a stream is taken to come
no sooner than half the shortest of its last gaps.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.pairing_report import pairing_report, stamp_differences
from drive_segment_ros.perception.stamp_stream import Item, Stream, Unknown, key_of, successor

# Offsets that differ by less than this count as equal and the earlier image wins. Without it, a
# camera half a period off the LiDAR would lose an image wherever stamp jitter turns the balance.
_JITTER_NS = 1_000_000


@dataclasses.dataclass(frozen=True)
class SyncParameters:
    """When an image and a sweep belong together, and how long to wait to find out.

    Raises:
        ParameterError: if `camera_offset` is neither a number nor `auto`.
    """

    max_offset_s: float = parameter(
        0.06,
        'largest difference of an image stamp (plus camera offset) and a sweep stamp that still '
        'pairs, inclusive; just over half the period of a 10 Hz LiDAR, so every image has a sweep',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    camera_offset: str = parameter(
        'auto',
        'seconds added to image stamps before pairing, or auto: from the times of the points that '
        'the camera sees',
    )
    image_queue: int = parameter(
        30,
        'images of one camera that may wait for a sweep; 1 s at 30 Hz',
        minimum=1,
        maximum=1000,
    )
    sweep_queue: int = parameter(
        20,
        'sweeps kept for images still to come; 2 s at 10 Hz, about 50 MB',
        minimum=1,
        maximum=1000,
    )
    max_wait_s: float = parameter(
        1.0,
        'time after which a live image is decided with the sweeps at hand; longer than any usual '
        'transport delay',
        unit='s',
        minimum=0.0,
        maximum=60.0,
    )
    jump_back_s: float = parameter(
        1.0,
        'a stamp this far behind the newest of its stream is a clock jump or a bag that loops, '
        'not a message out of order',
        unit='s',
        minimum=0.01,
        maximum=3600.0,
    )

    def __post_init__(self) -> None:
        try:
            # Stamps are counted in nanoseconds.
            usable = math.isfinite((self.fixed_offset_s or 0.0) * 1e9)
        except ValueError:
            usable = False
        if not usable:
            raise ParameterError(
                f"parameter camera_offset is {self.camera_offset!r}; give seconds or 'auto'"
            )

    @property
    def fixed_offset_s(self) -> float | None:
        """The camera offset in seconds, None for `auto`."""
        return None if self.camera_offset == 'auto' else float(self.camera_offset)


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and the sweep it belongs to.

    Attributes:
        camera: name of the image's camera.
        image_stamp_ns, sweep_stamp_ns: header stamps.
        image, sweep: whatever was handed to the matcher.
        offset_s: image stamp plus camera offset minus sweep stamp, seconds.
    """

    camera: str
    image_stamp_ns: int
    sweep_stamp_ns: int
    image: Any
    sweep: Any
    offset_s: float


class Matcher:
    """Pairs images of any number of cameras with the sweeps of one LiDAR.

    Every image ends in a pair, in `drops` under its reason, or in `pending`. Safe to call from
    several threads; pairs are returned, so no lock is held while they are worked on.

    Attributes:
        params: the parameters.
        drops: images dropped, by reason: `no_sweep` (none within `max_offset_s`), `sweep_taken`
            (it serves a nearer image), `queue_full`, `waited_too_long` (nothing known to pair
            with), `duplicate`, `zero_stamp`, and what `stop` was told.
        sweep_drops: sweeps dropped, by reason: `unused`, `duplicate`, `zero_stamp`.
        pairs: number of pairs made.
        sweeps_used: number of sweeps let go after serving an image.
        jumps: number of times a stream's stamps jumped back.
    """

    def __init__(
        self,
        params: SyncParameters | None = None,
        cameras: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a matcher.

        Args:
            params: the parameters; a fixed camera offset applies to every camera.
            cameras: names expected, for `report`; others are added as they come.
            clock: seconds, for `expire`.
        """
        self.params = params or SyncParameters()
        self.drops: Counter[str] = Counter()
        self.sweep_drops: Counter[str] = Counter()
        self.pairs = 0
        self.sweeps_used = 0
        self.jumps = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._max_offset_ns = round(self.params.max_offset_s * 1e9)
        self._jump_back_ns = round(self.params.jump_back_s * 1e9)
        self._offset_ns = round((self.params.fixed_offset_s or 0.0) * 1e9)
        self._sweeps = Stream(epoch=0)
        self._cameras = {name: Stream(0, self._offset_ns) for name in cameras}

    @property
    def images(self) -> int:
        """Number of images received."""
        return sum(stream.received for stream in self._cameras.values())

    @property
    def sweeps(self) -> int:
        """Number of sweeps received."""
        return self._sweeps.received

    @property
    def pending(self) -> int:
        """Number of images not yet decided."""
        return sum(len(stream.items) for stream in self._cameras.values())

    @property
    def sweeps_pending(self) -> int:
        """Number of sweeps kept."""
        return len(self._sweeps.items)

    def set_offset(self, camera: str, offset_s: float) -> None:
        """Set the seconds added to a camera's image stamps, for images that wait as well."""
        with self._lock:
            self._camera(camera).shift(round(offset_s * 1e9))

    def add_image(self, stamp_ns: int, item: Any, camera: str = 'camera') -> list[Pair]:
        """Take an image; return the pairs that can now be told."""
        with self._lock:
            stream = self._camera(camera)
            self._add(stream, stamp_ns, item, self.drops)
            pairs = self._decide(camera, stream)
            while len(stream.items) > self.params.image_queue:
                pairs += self._decide_oldest(camera, stream, 'queue_full')
            return pairs

    def add_sweep(self, stamp_ns: int, item: Any) -> list[Pair]:
        """Take a sweep; return the pairs that can now be told."""
        with self._lock:
            self._add(self._sweeps, stamp_ns, item, self.sweep_drops)
            pairs = self._decide_all()
            while len(self._sweeps.items) > self.params.sweep_queue:
                self._let_go(self._sweeps.items.pop(0))
            return pairs

    def expire(self) -> list[Pair]:
        """Decide the images that have waited `max_wait_s`; for a live node to call now and then.

        A camera or LiDAR that stops would otherwise leave its partner's last messages waiting.
        """
        with self._lock:
            limit = self._clock() - self.params.max_wait_s
            pairs: list[Pair] = []
            for camera, stream in self._cameras.items():
                while stream.items and stream.items[0].arrival <= limit:
                    pairs += self._decide_oldest(camera, stream, 'waited_too_long')
            return pairs

    def flush(self) -> list[Pair]:
        """Decide every image that waits and let all sweeps go: the end of the recording."""
        with self._lock:
            pairs = self._decide_all(final=True)
            while self._sweeps.items:
                self._let_go(self._sweeps.items.pop(0))
            return pairs

    def stop(self, reason: str) -> None:
        """Give up every image that waits, for a reason, and let all sweeps go."""
        with self._lock:
            for stream in self._cameras.values():
                if stream.items:
                    self.drops[reason] += len(stream.items)
                    stream.items.clear()
            while self._sweeps.items:
                self._let_go(self._sweeps.items.pop(0))

    def report(self) -> str:
        """Say in one line what was paired and, where nothing is, why."""
        with self._lock:
            return pairing_report(self, self._cameras, self._sweeps, self.params.max_offset_s)

    def apart(self) -> str:
        """Say in one line how far the newest stamps of images and sweeps are apart."""
        with self._lock:
            return '; '.join(
                stamp_differences(self._cameras, self._sweeps, self.params.max_offset_s)
            )

    def _camera(self, name: str) -> Stream:
        if name not in self._cameras:
            self._cameras[name] = Stream(self._sweeps.epoch, self._offset_ns)
        return self._cameras[name]

    def _add(self, stream: Stream, stamp_ns: int, payload: Any, drops: Counter[str]) -> None:
        stream.received += 1
        if stamp_ns <= 0:
            drops['zero_stamp'] += 1
            return
        if stream.is_jump(stamp_ns, self._jump_back_ns):
            self.jumps += 1
            stream.restart(stream.epoch + 1)
        if not stream.add(stamp_ns, payload, self._clock()):
            drops['duplicate'] += 1

    def _decide_all(self, final: bool = False) -> list[Pair]:
        pairs = []
        for camera, stream in self._cameras.items():
            pairs += self._decide(camera, stream, final)
        return pairs

    def _decide(self, camera: str, stream: Stream, final: bool = False) -> list[Pair]:
        """Decide a camera's images, oldest first, as far as their partners are known."""
        pairs = []
        while stream.items:
            try:
                sweep, reason = self._choose(camera, stream.items, final)
            except Unknown:
                break
            pairs += self._settle(camera, stream, sweep, reason)
        return pairs

    def _decide_oldest(self, camera: str, stream: Stream, reason: str) -> list[Pair]:
        """Decide a camera's oldest image with what is known, then those that waited for it."""
        if stream.epoch != self._sweeps.epoch:
            # Only one of the two clocks jumped: from here on they are compared as they are.
            self._join_epochs()
        sweep, choice = self._choose(camera, stream.items, final=True)
        pairs = self._settle(camera, stream, sweep, choice if choice == 'sweep_taken' else reason)
        return pairs + self._decide(camera, stream)

    def _join_epochs(self) -> None:
        epoch = max(stream.epoch for stream in (self._sweeps, *self._cameras.values()))
        for stream in (self._sweeps, *self._cameras.values()):
            if stream.epoch != epoch:
                stream.restart(epoch)

    def _settle(self, camera: str, stream: Stream, sweep: Item | None, reason: str) -> list[Pair]:
        image = stream.items.pop(0)
        if sweep is None:
            self.drops[reason] += 1
            return []
        sweep.taken_by.add(camera)
        self.pairs += 1
        offset_s = (image.key - sweep.key) * 1e-9
        return [
            Pair(camera, image.stamp_ns, sweep.stamp_ns, image.payload, sweep.payload, offset_s)
        ]

    def _let_go(self, sweep: Item) -> None:
        if sweep.taken_by:
            self.sweeps_used += 1
        else:
            self.sweep_drops['unused'] += 1

    def _choose(self, camera: str, images: list[Item], final: bool) -> tuple[Item | None, str]:
        """Return the sweep of the oldest image, or None and the reason.

        Raises:
            Unknown: if that depends on messages still to come; never when `final`.
        """
        image, sweeps = images[0], self._sweeps.items
        before, reach, index = None, self._max_offset_ns, 0
        while index < len(sweeps) and sweeps[index].key <= image.key:
            if before is not None and sweeps[index - 1].next_key > image.key + reach:
                break
            distance = image.key - sweeps[index].key
            if camera not in sweeps[index].taken_by and distance <= self._max_offset_ns:
                # A sweep after the image must be strictly nearer than the one before it.
                before, reach = sweeps[index], distance - 1
            index += 1
        chosen = successor(
            sweeps,
            index,
            image.key + reach,
            lambda sweep: (
                camera not in sweep.taken_by
                and not self._is_contested(camera, sweep, images, final)
            ),
            final=final,
            # A wrong guess may cost the image a nearer sweep, but never its only one.
            certain=before is None,
        )
        if chosen is not None or before is not None:
            return chosen or before, ''
        in_range = any(abs(sweep.key - image.key) <= self._max_offset_ns for sweep in sweeps)
        return None, 'sweep_taken' if in_range else 'no_sweep'

    def _is_contested(self, camera: str, sweep: Item, images: list[Item], final: bool) -> bool:
        """Tell whether a later image is nearer to the sweep than the oldest and would choose it.

        Raises:
            Unknown: if that depends on messages still to come; never when `final`.
        """
        margin = sweep.key - images[0].key - _JITTER_NS
        if margin <= 0:
            return False
        sweeps = self._sweeps.items
        earlier = sweeps[: bisect.bisect_left(sweeps, sweep.key, key=key_of)]
        free = [other for other in earlier if camera not in other.taken_by]

        def is_rival(other: Item) -> bool:
            distance = abs(other.key - sweep.key)
            if distance >= margin or any(abs(other.key - s.key) <= distance for s in free):
                return False
            # The next sweep may suit it as well as this one, or better.
            following = successor(
                sweeps,
                len(earlier) + 1,
                other.key + distance + _JITTER_NS,
                lambda s: camera not in s.taken_by,
                final=final,
            )
            return following is None

        return successor(images, 1, sweep.key + margin - 1, is_rival, final=final) is not None
