"""The recorder's soak: 20,000 small frames; neither memory nor the cost of a frame may grow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from frames import DRIVE, made_up_frames

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.recording.recorder import Recorder, RecorderParameters

WIDTH, HEIGHT = 64, 36
PARTS = 10


def run(quick: bool = False) -> dict[str, Any]:
    """Record frames as fast as the disk takes them; `median_s` and `p95_s` are of parts, a frame.

    Raises:
        RuntimeError: if a frame was lost.
    """
    count = 1_000 if quick else 20_000
    seconds, cpu, resident = [], [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_recorder_') as name:
        parameters = RecorderParameters(min_free_gb=0.0)
        recorder = Recorder(Path(name) / 'dataset', parameters)
        began, cpu_began = time.perf_counter(), time.process_time()
        for k, frame in enumerate(made_up_frames(count, WIDTH, HEIGHT), start=1):
            while recorder.status()['waiting'] >= parameters.queue // 2:
                time.sleep(0.0005)
            recorder.submit(frame, DRIVE)
            if k % (count // PARTS) == 0:
                now, cpu_now = time.perf_counter(), time.process_time()
                seconds.append((now - began) / (count // PARTS))
                cpu.append((cpu_now - cpu_began) / (count // PARTS))
                resident.append(_resident_bytes())
                began, cpu_began = now, cpu_now
        recorder.close()
        status = recorder.status()
        frames = sum(len(drive.frames) for drive in Dataset(Path(name) / 'dataset').drives)
    if frames != count:
        raise RuntimeError(f'{count} frames sent, {frames} recorded: {status}')
    return {
        'results': [
            {
                'name': 'recorder.soak',
                'median_s': float(np.median(seconds)),
                'p95_s': float(np.quantile(seconds, 0.95)),
                'runs': count,
                'peer': False,
                # Of the last tenth to the first: 1 is a constant cost a frame.
                'ratio': seconds[-1] / seconds[0],
                # The same of processor time, on which others that use the disk have no influence.
                'cpu_ratio': cpu[-1] / cpu[0],
                'cpu_median_s': float(np.median(cpu)),
                'frames': frames,
                'resident_mb_after_first_tenth': resident[0] / 1e6,
                'resident_mb_at_the_end': resident[-1] / 1e6,
            }
        ]
    }


def _resident_bytes() -> int:
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError('/proc/self/status has no VmRSS')
