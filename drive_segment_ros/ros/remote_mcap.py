"""Read an MCAP file in object storage in place: its index, and the chunks that are wanted.

rosbags reads in small pieces, each request to object storage takes tens of milliseconds, and the
read-ahead of fsspec's file objects mostly fetches unneeded data. Here only the chunks that the
index lists for the requested messages are fetched, some ahead of the reader.
"""

from __future__ import annotations

import copy
import io
from collections import deque
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from rosbags.rosbag2.storage_mcap import McapReader

from drive_segment_ros.errors import BagError
from drive_segment_ros.storage import file_size, read_range

if TYPE_CHECKING:
    from typing_extensions import Self

# Other reads are of the header and the index, sequentially, with increasing size.
_FIRST_READ, _LARGEST_READ = 1 << 15, 1 << 22
# Chunks fetched ahead of the reader, and their largest total size.
_REQUESTS, _AHEAD = 8, 1 << 25


class NoIndexError(BagError):
    """An MCAP file can only be read from its beginning to its end."""


class Span(NamedTuple):
    """Bytes of a file: `start` to `stop`."""

    start: int
    stop: int


class RemoteMcap(McapReader):
    """rosbags' reader for a remote file with an index."""

    def __init__(self, path: Path) -> None:
        """Store the path; nothing is fetched yet."""
        super().__init__(path)
        self._remote, self._size = path, 0

    def open(self) -> None:
        """Read the index.

        Raises:
            NoIndexError: if there is none.
            OSError: if the storage cannot be read.
        """
        self._size = file_size(self._remote)
        self.bio = cast(BinaryIO, RangeReader(self._remote, self._size))
        self._open()

    def meta_scan(self) -> None:
        """Refuse to scan the whole file."""
        raise NoIndexError(f'{self.path} has no index')

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Any, int, bytes], None, None]:
        """Yield connection, log time and content of messages, `start` <= log time < `stop`.

        Chunks without such messages are not fetched.
        """
        numbers = {connection.id for connection in connections}
        wanted = [
            chunk
            for chunk in sorted(self.chunks, key=lambda chunk: chunk.message_start_time)
            if (start is None or start <= chunk.message_end_time)
            and (stop is None or chunk.message_start_time < stop)
            and any(chunk.channel_count.get(number, 0) for number in numbers)
        ]
        if not wanted:
            return
        plan = [
            Span(chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length)
            for chunk in wanted
        ]
        # A separate reader, as messages may be read by several iterators at the same time.
        reader = copy.copy(self)
        reader.chunks = wanted
        with RangeReader(self._remote, self._size, plan) as file:
            reader.bio = cast(BinaryIO, file)
            yield from McapReader.messages(reader, connections, start, stop)


class RangeReader(io.RawIOBase):
    """A remote file, open for reading, that fetches planned pieces ahead of time."""

    def __init__(self, path: Path, size: int, plan: Sequence[Span] = ()) -> None:
        """Open the file; planned pieces are fetched from the first read on.

        Args:
            path: remote.
            size: of the file, bytes.
            plan: the pieces that will be read, in this order, each from its start.
        """
        super().__init__()
        self._path, self._size = path, size
        self._plan = deque(plan)
        self._coming: deque[tuple[Span, Future[bytes]]] = deque()
        self._threads = ThreadPoolExecutor(_REQUESTS) if plan else None
        self._position = 0
        self._held, self._data = Span(0, 0), b''
        self._next_read = _FIRST_READ

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def close(self) -> None:
        """Stop fetching."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._data = b''
        super().close()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it is seekable."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to a position, which is returned."""
        origin = (0, self._position, self._size)[whence]
        self._position = min(max(origin + offset, 0), self._size)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read the requested number of bytes, fewer only at the end of the file.

        Raises:
            OSError: if the storage cannot be read.
        """
        start = self._position
        stop = self._size if size < 0 else min(start + size, self._size)
        if not self._held.start <= start <= stop <= self._held.stop:
            self._fetch(start, stop)
        self._position = stop
        return self._data[start - self._held.start : stop - self._held.start]

    def _fetch(self, start: int, stop: int) -> None:
        """Fetch the piece that contains some bytes."""
        planned = [*(span for span, _ in self._coming), *self._plan]
        if any(span.start <= start and stop <= span.stop for span in planned[:1]):
            self._held, self._data = self._next_planned()
            return
        follows = self._held.start < start <= self._held.stop
        self._next_read = min(2 * self._next_read, _LARGEST_READ) if follows else _FIRST_READ
        stop = min(max(stop, start + self._next_read), self._size)
        self._held, self._data = Span(start, stop), read_range(self._path, start, stop)

    def _next_planned(self) -> tuple[Span, bytes]:
        """Return the next piece of the plan, and fetch those after it in the background."""
        assert self._threads is not None
        ahead = sum(span.stop - span.start for span, _ in self._coming)
        while self._plan and len(self._coming) < _REQUESTS:
            if self._coming and ahead + self._plan[0].stop - self._plan[0].start > _AHEAD:
                break
            span = self._plan.popleft()
            ahead += span.stop - span.start
            self._coming.append((span, self._threads.submit(read_range, self._path, *span)))
        span, coming = self._coming.popleft()
        return span, coming.result()
