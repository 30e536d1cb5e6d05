"""`drive-segment demo`: a drive through all that works, by the commands a person would type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError, DatasetError, DriveSegmentError

REPORT = 'demo.json'
# Longest the player waits for the node; discovery with large-message transports takes seconds.
WAIT_FOR_NODE_S = 20.0
# Where the player puts the motion that a bag has in /tf.
ODOMETRY = '/odom'
# What the node may still have in hand when the player's last message is acknowledged.
SETTLE_S = 2.0


def demo(
    output: Path, bag: Path | None = None, program: Sequence[str] = ('drive-segment',)
) -> dict[str, Any]:
    """Inspect and extract a drive, then run it live in two processes over DDS.

    Args:
        output: folder for the results; that of an earlier demo is replaced.
        bag: the drive; None simulates one.
        program: how `drive-segment` is started.

    Returns:
        `bag`, `output`, `preview` (paths), `extract` and `live` (what these commands report).

    Raises:
        DatasetError: if `output` exists and is not a demo's.
        DriveSegmentError: if a command fails; the message names it.
    """
    _make_folder(output)
    run = _Runner(program)
    if bag is None:
        bag = output / 'simulated_drive'
        run('Simulate a drive', 'simulate', '-o', bag)
    calibration = output / 'calibration.yaml'
    found = run('Look into the bag', 'inspect', bag, '--calibration', calibration, '--json')
    topics = _topics(found, bag)
    extracted = run(
        'Find objects in each sweep and carry them into the images',
        *('extract', bag, '-o', output / 'dataset', '--preview', '--json'),
        *('--camera', topics['camera'], '--lidar', topics['lidar']),
    )
    live = _run_live(run, bag, calibration, topics)
    preview = next(iter(sorted((output / 'dataset').glob('*/preview'))), None)
    report = {
        'bag': str(bag),
        'output': str(output),
        'preview': str(preview),
        'extract': extracted,
        'live': live,
    }
    (output / REPORT).write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    _say(f'\nResults are in {output}; the pictures are in {preview}')
    _say(result_line(report))
    return report


def result_line(report: dict[str, Any]) -> str:
    """Return the demo's outcome in one line."""
    extracted, live = report['extract'], report['live']
    line = (
        f'extracted {extracted["frames"]} of {extracted["images"]} images at '
        f'{extracted["frames_per_second"]:.1f} frames/s; live {live["frames"]} frames'
    )
    if live['frames'] == 0:
        return f'{line}, dropped {live["dropped"]}'
    return (
        f'{line}, {live["latency_median_ms"]:.0f} ms median and '
        f'{live["latency_p95_ms"]:.0f} ms p95 from arrival to publication'
    )


class _Runner:
    """Starts `drive-segment` commands, showing each as one would type it."""

    def __init__(self, program: Sequence[str]) -> None:
        self._program = list(program)
        # Beside other ROS systems on this machine and network, unseen and undisturbed.
        self._environment = {
            'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
            **os.environ,
            # The commands of this very installation first, wherever it is.
            'PATH': os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH'])),
        }

    def __call__(self, what: str, *arguments: object) -> dict[str, Any]:
        """Run a command to its end and return its JSON, empty if it has none."""
        with tempfile.TemporaryFile('w+') as answer:
            process = self.start(what, arguments, answer)
            status = process.wait()
            return self.answer(arguments, status, answer)

    def start(self, what: str, arguments: Sequence[object], answer: Any) -> subprocess.Popen[str]:
        """Start a command; its standard output goes to the file `answer`."""
        words = [str(argument) for argument in arguments]
        _say(f'\n# {what}\n$ {shlex.join(["drive-segment", *words])}')
        return subprocess.Popen(
            [*self._program, *words], stdout=answer, text=True, env=self._environment
        )

    def answer(self, arguments: Sequence[object], status: int, answer: Any) -> dict[str, Any]:
        """Return what an ended command has written to `answer`, as JSON.

        Raises:
            DriveSegmentError: if it failed; its own line is already on the terminal.
        """
        if status != 0:
            raise DriveSegmentError(f'demo: `drive-segment {arguments[0]}` failed, see above')
        answer.seek(0)
        text = answer.read()
        if '--json' in arguments:
            return json.loads(text)
        _say(text.rstrip())
        return {}


def _run_live(
    run: _Runner, bag: Path, calibration: Path, topics: dict[str, str]
) -> dict[str, Any]:
    """Play the bag to a live node in another process; return the node's summary."""
    arguments = [
        *('live', '--calibration', calibration, '--camera', topics['namespace']),
        *('--remap', f'points:={topics["lidar"]}', '--remap', f'odom:={topics["odometry"]}'),
        '--json',
    ]
    with tempfile.TemporaryFile('w+') as answer:
        node = run.start('The same live, from topics: a node ...', arguments, answer)
        try:
            run('... and the bag on the air', 'play', bag, '--wait', WAIT_FOR_NODE_S)
            node.wait(SETTLE_S)
        except subprocess.TimeoutExpired:
            pass  # as it should be: the node runs until interrupted
        finally:
            node.send_signal(signal.SIGINT)
            status = node.wait()
        return run.answer(arguments, status, answer)


def _topics(inspected: dict[str, Any], bag: Path) -> dict[str, str]:
    """Choose the first camera and LiDAR that `inspect` found with a transform between them."""
    pairs = sorted(inspected['pairs'], key=lambda pair: not pair['transform'])
    if not pairs:
        raise BagError(f'{bag}: the demo needs a camera and a LiDAR; see `drive-segment inspect`')
    camera = pairs[0]['camera']
    recorded = (t['name'] for t in inspected['topics'] if t['type'] == 'nav_msgs/msg/Odometry')
    return {
        'camera': camera,
        'lidar': pairs[0]['lidar'],
        'odometry': next(recorded, ODOMETRY),
        'namespace': camera.removesuffix('/compressed').rpartition('/')[0],
    }


def _make_folder(output: Path) -> None:
    if output.exists() and any(output.iterdir()):
        if not (output / REPORT).is_file():
            raise DatasetError(f"{output} exists and is no demo's folder; give another with -o")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    # Marks the folder as a demo's from the start: one that was interrupted can be replaced too.
    (output / REPORT).write_text('{}\n', encoding='utf-8')


def _say(text: str) -> None:
    # Standard output belongs to `--json`.
    print(text, file=sys.stderr, flush=True)
