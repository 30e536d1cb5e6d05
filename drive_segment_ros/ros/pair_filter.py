"""A frame stream as a message filter: fed by other filters, it calls back with each pair.

It replaces message_filters' ApproximateTimeSynchronizer:

    images = message_filters.Subscriber(node, CompressedImage, 'front/image_raw/compressed')
    sweeps = message_filters.Subscriber(node, PointCloud2, 'points')
    pairs = PairFilter(FrameStream(params, ['front']))
    images.registerCallback(lambda message: pairs.push(image_event('front', message, params)))
    sweeps.registerCallback(lambda message: pairs.push(sweep_event(message, params)))
    pairs.registerCallback(on_pair)  # on_pair(pair)

No lock is held while callbacks run, so they may take long, raise, or push messages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from drive_segment_ros.frame.events import Event
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.ros.subscriber import SimpleFilter


class PairFilter(SimpleFilter):
    """Calls back with each pair of an image and a sweep, those of a camera in order.

    Thread-safe.

    Attributes:
        stream: forms the pairs.
        lock: held while the stream is used; required to read more of it than counts.
    """

    def __init__(self, stream: FrameStream, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a stream.

        Args:
            stream: a new one.
            clock: of arrivals, seconds, monotonic.
        """
        super().__init__()
        self.stream = stream
        self.lock = threading.Lock()
        self._clock = clock
        self._ready: deque[Pair] = deque()
        self._signalling = threading.Lock()
        self._stopped = ''

    def push(self, event: Event) -> bool:
        """Push a message of any sensor; returns False and does nothing after `stop`."""
        with self.lock:
            if self._stopped:
                return False
            self._ready.extend(self.stream.push(event, self._clock()))
        self._signal()
        return True

    def expire(self) -> None:
        """Decide waiting pairs if no messages arrive any more; to be called periodically."""
        with self.lock:
            self._ready.extend(self.stream.expire(self._clock()))
        self._signal()

    def stop(self, reason: str) -> None:
        """Drop what waits, with a reason; further messages are ignored."""
        with self.lock:
            self._stopped = reason
            self.stream.stop(reason)

    def _signal(self) -> None:
        """Call back; only one thread at a time does, so that pairs keep their order."""
        while self._ready and self._signalling.acquire(blocking=False):
            try:
                while self._ready:
                    self.signalMessage(self._ready.popleft())
            finally:
                self._signalling.release()
