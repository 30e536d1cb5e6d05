"""Measures memory, CPU time and bytes read and written of a program and its child processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_LOOKED_S = 0.05
_TICKS = os.sysconf('SC_CLK_TCK')
# Offset of tcpi_bytes_acked and tcpi_bytes_received in struct tcp_info of linux/tcp.h.
_ACKED_AND_RECEIVED = struct.Struct('<120xQQ')


def measured(*arguments: object) -> dict[str, Any]:
    """Run a Python program and measure it and its descendants by polling /proc.

    Args:
        arguments: of the Python interpreter: the program and its arguments.

    Returns:
        The JSON object on the last line of the program's output, with `peak_mib` (resident memory
        of all processes together), `cpu_s`, and `bytes` (read and written by system calls, from
        the disk or the page cache).

    Raises:
        RuntimeError: if the program fails.
    """
    words = [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    peak, moved, worked = 0, dict[int, int](), dict[int, float]()
    answer: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: answer.extend(process.stdout or []), daemon=True)
    reader.start()
    while process.poll() is None:
        tree = _tree(process.pid)
        peak = max(peak, sum(_resident_bytes(pid) for pid in tree))
        for pid in tree:
            moved[pid] = max(moved.get(pid, 0), _moved_bytes(pid))
            worked[pid] = max(worked.get(pid, 0.0), _processor_s(pid))
        time.sleep(_LOOKED_S)
    reader.join()
    if process.returncode != 0:
        raise RuntimeError(f'{" ".join(words)} failed, see above')
    return {
        **json.loads(answer[-1]),
        'peak_mib': peak / 2**20,
        'cpu_s': sum(worked.values()),
        'bytes': sum(moved.values()),
    }


class ClientBytes:
    """Counts the bytes that this process sends and receives by TCP; a context manager.

    Attributes:
        total: bytes sent and received.
    """

    def __init__(self) -> None:
        self._of_socket: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def total(self) -> int:
        """Bytes sent and received so far."""
        return sum(self._of_socket.values())

    def __enter__(self) -> ClientBytes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOKED_S):
            for entry in Path('/proc/self/fd').iterdir():
                with contextlib.suppress(OSError, struct.error):
                    name = os.readlink(entry)
                    if name.startswith('socket:'):
                        self._count(name, int(entry.name))

    def _count(self, name: str, descriptor: int) -> None:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            information = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        count = sum(_ACKED_AND_RECEIVED.unpack_from(information))
        self._of_socket[name] = max(self._of_socket.get(name, 0), count)


def _tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in Path(f'/proc/{pid}/task').iterdir():
                left += map(int, (task / 'children').read_text().split())
    return found


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * 4096
    return 0


def _processor_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def _moved_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f'/proc/{pid}/io').read_text().splitlines()
        values = dict(line.split(': ') for line in lines)
        return int(values['rchar']) + int(values['wchar'])
    return 0
