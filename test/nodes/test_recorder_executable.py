"""The recorder's executable: started before or after its sensors, ended by either signal."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from drive_segment_ros.dataset.reader import Dataset  # noqa: E402
from drive_segment_ros.dataset.repair import repair  # noqa: E402

NODE = 'pseudo_label_recorder_node'
MAIN = f'from drive_segment_ros.nodes.executables import {NODE}; {NODE}()'
# Queues of ten seconds, so that a busy machine loses no messages.
PARAMETERS = {
    'gates.min_interval': 0.0,
    'gates.min_distance': 0.0,
    'gates.min_sharpness': 0.0,
    'disk.min_free_gb': 0.0,
    'inputs.depth': 100,
    'pipeline.queue': 100,
}


class Sensors:
    """Publishes camera, LiDAR and odometry at 10 Hz once started; receives /diagnostics."""

    def __init__(self, street) -> None:
        self.sent: list[int] = []
        self.said: list[str] = []
        self._street = street
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node('sensors', context=self._context)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._hear, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._executor.spin, daemon=True)]
        self._threads[0].start()

    def start(self) -> None:
        self._threads.append(threading.Thread(target=self._drive, daemon=True))
        self._threads[-1].start()

    def change(self, transition: int) -> None:
        client = self._node.create_client(ChangeState, f'/{NODE}/change_state')
        assert client.wait_for_service(180.0)
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = client.call_async(request)
        wait_until(answer.done)
        assert answer.result().success

    def close(self) -> None:
        self._stop.set()
        self._executor.shutdown()
        for thread in self._threads:
            thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _hear(self, message: DiagnosticArray) -> None:
        self.said += [status.message for status in message.status]

    def _drive(self) -> None:
        street, make = self._street, self._street.Messages()
        publish = {
            topic: self._node.create_publisher(kind, topic, 100).publish
            for topic, kind in street.TYPES.items()
        }
        while not self._stop.wait(0.1):
            stamp = street.START_NS + len(self.sent) * street.PERIOD_NS
            publish['odom'](make.odometry(stamp))
            publish['camera_info'](make.info(stamp))
            publish['points'](make.cloud(stamp))
            publish['image_raw/compressed'](make.image(stamp))
            self.sent.append(stamp)


@pytest.fixture
def sensors(street, ros_domain):
    sensors = Sensors(street)
    yield sensors
    sensors.close()


@pytest.fixture
def run_main(street, ros_domain, tmp_path):
    """Return a function that starts the recorder's executable, which is killed after the test."""
    processes = []

    def run() -> subprocess.Popen:
        calibration = street.calibration(tmp_path / 'calibration.yaml')
        given = {'dataset': tmp_path / 'set', 'calibration_file': calibration, **PARAMETERS}
        words = [word for name, value in given.items() for word in ('-p', f'{name}:={value}')]
        processes.append(
            subprocess.Popen(
                [sys.executable, '-c', MAIN, '--ros-args', *words],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        return processes[-1]

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition, limit_s: float = 180.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ('order', 'number'), [('before', signal.SIGTERM), ('after', signal.SIGINT)]
)
def test_started_before_or_after_its_sensors_it_loses_nothing_to_a_signal(
    sensors, run_main, tmp_path, order, number
):
    if order == 'after':
        sensors.start()
        wait_until(lambda: len(sensors.sent) > 5)
    process = run_main()
    sensors.change(Transition.TRANSITION_CONFIGURE)
    sensors.change(Transition.TRANSITION_ACTIVATE)
    if order == 'before':
        wait_until(lambda: any('waiting for image, points' in words for words in sensors.said))
        sensors.start()

    def indexed() -> int:
        paths = (tmp_path / 'set').glob('*/*/frames.jsonl')
        return sum(len(path.read_bytes().splitlines()) for path in paths)

    wait_until(lambda: indexed() >= 8)
    for _ in range(3):
        # Users press Ctrl-C again, and launch repeats the signal of the terminal.
        process.send_signal(number)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    (drive,) = Dataset(tmp_path / 'set').drives
    assert f'{len(drive.frames)} frames recorded' in output
    stamps = [frame.stamp_ns for frame in drive.frames]
    # From the first frame on no image is missing, and every frame can be read.
    first = sensors.sent.index(stamps[0])
    assert stamps == sensors.sent[first : first + len(stamps)]
    for frame in drive.frames:
        assert frame.image().shape == (240, 320, 3)
        assert frame.segment().any()
        assert len(frame.proposals()['id'])
    assert repair(tmp_path / 'set').repaired == []
