"""Recorders that are killed at random moments; run as a program by test_kill.py.

Each is forked from this process, which has imported what it needs, so that it begins to write
within a millisecond. Prints a JSON list with the (stamp, camera) of the frames that each
reported as stored.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np

from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.recording.recorder import Recorder, RecorderParameters

TOLD = struct.Struct('<q5s')


def frames(first_ns: int, size: int):
    """Yield encoded frames endlessly, two per sweep; the image encodes the stamp."""
    stamp = first_ns
    template = Frame(
        camera='front',
        stamp_ns=0,
        image=b'',
        image_suffix='.jpg',
        segment=np.ones((4, 5), np.uint16),
        sweep=SweepRecord(0, {name: np.ones(1, np.uint16) for name in REQUIRED}),
        record={},
    )
    while True:
        stamp += 10**8
        mark = (stamp // 10**8 % 60_000 + 1).to_bytes(4, 'little')
        sweep = SweepRecord(stamp - 1, template.sweep.proposals)
        for camera in ('front', 'left'):
            values = {'camera': camera, 'stamp_ns': stamp, 'image': mark * (size // 4)}
            yield Frame(**{**vars(template), **values, 'sweep': sweep}).encoded()


def record(
    dataset: Path, first_ns: int, size: int, parameters: RecorderParameters, pipe: int
) -> None:
    """Record endlessly; report each frame on the pipe after `DriveWriter.add` has stored it."""
    add = DriveWriter.add

    def telling(writer, frame):
        add(writer, frame)
        os.write(pipe, TOLD.pack(frame.stamp_ns, frame.camera.encode()))

    DriveWriter.add = telling
    recorder = Recorder(dataset, parameters, 'front')
    for frame in frames(first_ns, size):
        while recorder.status()['waiting'] > 5:
            time.sleep(0.0002)
        recorder.submit(frame, {'cameras': {frame.camera: {}}, 'parameters': {}})


class Child:
    """A recorder in its own process, and the frames that it reports as stored."""

    def __init__(self, dataset: Path, first_ns: int, size: int, parameters: RecorderParameters):
        source, sink = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(source)
            try:
                record(dataset, first_ns, size, parameters, sink)
            finally:
                os._exit(1)
        os.close(sink)
        # Unbuffered, so that `select` sees every report.
        self.told = os.fdopen(source, 'rb', buffering=0)
        self._read = b''

    def await_frames(self, count: int) -> None:
        """Wait until `count` frames are reported, at most 10 s for each."""
        for _ in range(count):
            if not select.select([self.told], [], [], 10.0)[0]:
                return
            self._read += self.told.read(TOLD.size)

    def kill(self) -> list[tuple[int, str]]:
        """Kill the process; return (stamp, camera) of all reported frames."""
        os.kill(self.process, signal.SIGKILL)
        _, status = os.waitpid(self.process, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        with self.told as file:
            told = TOLD.iter_unpack(self._read + file.read())
            return [(stamp, name.rstrip(b'\0').decode()) for stamp, name in told]


def main() -> None:
    folder, kills, size, quota_gb = sys.argv[1:]
    dataset = Path(folder)
    when_full = 'rotate' if float(quota_gb) else 'stop'
    parameters = RecorderParameters(float(quota_gb), 0.0, when_full, queue=10)
    rng = random.Random(1)
    next(frames(0, 4))  # OpenCV is imported with the first PNG
    # Kill times are drawn in frames, and within a frame relative to the time that a frame takes
    # here, as a busy machine is slow.
    trial = Child(dataset, 10**9, int(size), parameters)
    trial.await_frames(1)
    began = time.monotonic()
    trial.await_frames(10)
    frame_s = (time.monotonic() - began) / 10
    trial.kill()
    told = []
    for k in range(int(kills)):
        first_ns = (1_700_000_000 + k // 3) * 10**9
        child = Child(dataset, first_ns, int(size), parameters)
        child.await_frames(rng.randrange(5))
        time.sleep(rng.uniform(0.0, 2.0 * frame_s))
        told.append(child.kill())
    print(json.dumps(told))


if __name__ == '__main__':
    main()
