"""The recorder with many frames, and the recorder node with a rig of cameras.

`recorder.soak`: the recorder writes 20,000 small frames; neither memory nor the time per frame
should grow.

`recorder.rig`: a simulated rig of three cameras at 10 Hz is played in real time to the node with
default gates; no pair that passes these may be lost.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from frames import DRIVE, made_up_frames
from processes import command, own_domain, play_to_node

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.recording.recorder import Recorder, RecorderParameters

WIDTH, HEIGHT = 64, 36
PARTS = 10
RIG = ('front', 'front_left', 'front_right')


def run(quick: bool = False) -> dict[str, Any]:
    """Run `recorder.soak` and `recorder.rig`.

    Raises:
        RuntimeError: if a frame was lost.
    """
    return {'results': [_soak(quick), _rig(2.0 if quick else 20.0)]}


def _rig(duration_s: float) -> dict[str, Any]:
    """Record a rig; `median_s` and `p95_s` are from a pair's arrival to its queueing for writing.

    Raises:
        RuntimeError: if a pair was lost, or a command fails.
    """
    from diagnostic_msgs.msg import DiagnosticArray

    from offline_training.simulator import SimulatorParameters, simulate

    own_domain()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_recorder_') as name:
        bag, calibration, dataset = (Path(name) / part for part in ('bag', 'c.yaml', 'set'))
        flat = {'rig': 'three', 'duration_s': duration_s}
        simulate(bag, from_flat(SimulatorParameters, flat))
        command('inspect', bag, '--calibration', calibration)
        live: list[object] = ['--node', 'recorder', '--calibration', calibration]
        live += [word for camera in RIG for word in ('--camera', f'/camera/{camera}')]
        live += ['--remap', 'points:=/lidar/points', '--remap', 'odom:=/odom']
        live += ['--set', f'dataset={dataset}', '--set', 'disk.min_free_gb=0.0']
        done = play_to_node(bag, [], live, {'/diagnostics': DiagnosticArray})
        summary, played = done.live, done.play
        recorded = {
            camera: len(frames)
            for drive in Dataset(dataset).drives
            for camera, frames in drive.cameras.items()
        }
    # The last images are dropped at the end, because they wait for messages of a continued drive.
    lost = {why: n for why, n in summary['dropped'].items() if n and why != 'stopped'}
    if lost or sum(recorded.values()) != summary['recorded']:
        raise RuntimeError(f'a pair of the rig was lost: {lost}, {recorded}: {summary}')
    return {
        'name': 'recorder.rig',
        'median_s': summary['latency_median_ms'] * 1e-3,
        'p95_s': summary['latency_p95_ms'] * 1e-3,
        'runs': summary['pairs'],
        'peer': False,
        'ratio': None,
        'frames': summary['recorded'],
        'images': summary['received']['image'],
        'images_sent': sum(n for topic, n in played['sent'].items() if '/image_raw' in topic),
        'gated': sum(summary['gated'].values()),
    }


def _soak(quick: bool) -> dict[str, Any]:
    """Record frames as fast as the disk permits; `median_s` and `p95_s` are times per frame.

    They are over ten parts of the run.

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
        'name': 'recorder.soak',
        'median_s': float(np.median(seconds)),
        'p95_s': float(np.quantile(seconds, 0.95)),
        'runs': count,
        'peer': False,
        # Time of the last tenth over that of the first: 1 is a constant time per frame.
        'ratio': seconds[-1] / seconds[0],
        # The same for CPU time, which does not depend on other users of the disk.
        'cpu_ratio': cpu[-1] / cpu[0],
        'cpu_median_s': float(np.median(cpu)),
        'frames': frames,
        'resident_mb_after_first_tenth': resident[0] / 1e6,
        'resident_mb_at_the_end': resident[-1] / 1e6,
    }


def _resident_bytes() -> int:
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError('/proc/self/status has no VmRSS')
