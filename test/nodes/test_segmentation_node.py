"""The segmentation node over DDS: a model with known output, good and bad messages."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import cv2  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from drive_segment_ros.errors import DependencyError, VideoError  # noqa: E402
from drive_segment_ros.nodes import mask_outputs, painted_cloud, segmentation_node  # noqa: E402
from drive_segment_ros.nodes.mask_outputs import LABEL_INFO_TOPIC, TOPICS  # noqa: E402
from drive_segment_ros.nodes.segmentation_node import SegmentationNode  # noqa: E402
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR  # noqa: E402
from drive_segment_ros.ros.diagnostics import ERROR  # noqa: E402
from drive_segment_ros.ros.images import image_message  # noqa: E402
from drive_segment_ros.ros.mask_info import label_info_type  # noqa: E402
from drive_segment_ros.ros.qos import transient_local  # noqa: E402
from drive_segment_ros.worker import Worker  # noqa: E402

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
LABEL, OVERLAY = 'segmentation/label/image_raw', 'segmentation/overlay/image_raw'
POINTS = 'segmentation/points'


class Rig:
    """A segmentation node, and a node that publishes sensor messages and receives outputs."""

    def __init__(self, model, **parameters) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        values = {'model': str(model), 'backend': 'onnxruntime', 'threads': 1, **parameters}
        overrides = [Parameter(name.replace('__', '.'), value=v) for name, v in values.items()]
        self.node = SegmentationNode(context=self.context, parameter_overrides=overrides)
        self.other = rclpy.create_node('other', context=self.context)
        self._publishers: dict = {}
        executor = self._executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        executor.add_node(self.other)
        self._thread = threading.Thread(target=executor.spin, daemon=True)

    def start(self) -> Rig:
        assert self.node.trigger_configure() == SUCCESS, self.node.failure
        assert self.node.trigger_activate() == SUCCESS, self.node.failure
        self._thread.start()
        return self

    def watch(self, topic: str = LABEL, kind: type = Image, qos=10) -> list:
        received: list = []
        self.other.create_subscription(kind, topic, received.append, qos)
        assert self.wait(lambda: self.node.count_subscribers(topic))
        assert self.wait(lambda: self.other.count_publishers(topic))
        publishers = [p for p in self.node.publishers if p.topic_name == f'/{topic}']
        assert self.wait(lambda: all(p.get_subscription_count() for p in publishers))
        return received

    def send(self, topic: str, message) -> None:
        if topic not in self._publishers:
            publisher = self.other.create_publisher(type(message), topic, QoSProfile(depth=50))
            self._publishers[topic] = publisher
            assert self.wait(publisher.get_subscription_count), topic
        self._publishers[topic].publish(message)

    def change(self, transition: str):
        """Run a transition on the executor's thread, which waits on the entities it destroys."""
        task = self._executor.create_task(getattr(self.node, f'trigger_{transition}'))
        assert self.wait(task.done)
        return task.result()

    def wait(self, condition, limit_s: float = 60.0) -> bool:
        deadline = time.monotonic() + limit_s
        # Do not evaluate the condition again: it may no longer hold.
        while not (held := condition()) and time.monotonic() < deadline:
            time.sleep(0.002)
        return bool(held)

    @property
    def diagnosis(self) -> str:
        return ' | '.join(part().summary for part in self.node.diagnostic_parts().values())

    @property
    def dropped(self) -> dict[str, int]:
        return self.node.summary()['dropped']

    def close(self) -> None:
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join()
        self.node.trigger_shutdown()
        self.node.destroy_node()
        self.other.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def make_rig(ros_domain, patient, model_folder):
    pytest.importorskip('onnxruntime')
    rigs = []

    def make(model=model_folder, **parameters):
        rigs.append(Rig(model, **parameters))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig().start()


def picture(strongest: int = 1, height: int = 8, width: int = 12) -> np.ndarray:
    """Return an image with one strongest channel, its label by the model; confidence 200."""
    pixels = np.full((height, width, 3), 20, np.uint8)
    pixels[..., strongest] = 200
    return pixels


def header(index: int = 0) -> Header:
    message = Header(frame_id='front')
    message.stamp.sec, message.stamp.nanosec = divmod(START_NS + index * PERIOD_NS, 10**9)
    return message


def image(index: int = 0, **form) -> Image:
    return image_message(picture(**form), 'bgr8', header(index))


def pixels_of(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)


def calibration(width: int = 24, height: int = 16, focal: float = 20.0) -> CameraInfo:
    info = CameraInfo(header=header(), width=width, height=height, distortion_model='plumb_bob')
    info.d = [0.0] * 5
    info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, float(focal > 0)]
    info.p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def test_every_topic_has_what_it_says_with_the_headers_of_the_image(rig):
    seen = {topic: rig.watch(topic, kind) for topic, kind in TOPICS.items()}
    rig.send('camera_info', calibration())
    assert rig.wait(lambda: rig.node.summary()['received'].get('camera_info'))
    rig.send('image_raw', image(height=16, width=24))
    assert rig.wait(lambda: all(seen.values())), {k: len(v) for k, v in seen.items()}
    messages = {topic: received[0] for topic, received in seen.items()}
    assert all(message.header == header() for message in messages.values())
    label, confidence = messages[LABEL], messages['segmentation/confidence/image_raw']
    assert (label.encoding, label.height, label.width) == ('mono8', 8, 12)
    assert (pixels_of(label) == 1).all()
    assert (pixels_of(confidence) == 200).all()
    assert (pixels_of(messages['segmentation/color/image_raw']) == (0, 255, 0)).all()
    overlay = pixels_of(messages[OVERLAY])
    assert overlay.shape == (8, 12, 3)
    assert (overlay == (10, 228, 10)).all()
    jpeg = messages['segmentation/overlay/image_raw/compressed']
    assert cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), 1).shape == (8, 12, 3)
    info = messages['segmentation/label/camera_info']
    assert (info.width, info.height) == (12, 8)
    assert (info.k[0], info.k[2], info.k[5]) == (10.0, 12 / 2 - 0.25, 8 / 2 - 0.25)


def test_label_info_is_latched_and_follows_the_threshold(rig):
    infos = rig.watch(LABEL_INFO_TOPIC, label_info_type(), transient_local())
    assert rig.wait(lambda: infos)
    rig.node.set_parameters([Parameter('confidence_threshold', value=0.9)])
    assert rig.wait(lambda: len(infos) == 2)
    if hasattr(infos[0], 'data'):
        first, second = (json.loads(info.data) for info in infos)
        assert [entry['class_name'] for entry in first['class_map']] == ['blue', 'green', 'red']
        assert (first['threshold'], second['threshold']) == (0.0, 0.9)


def test_threshold_and_opacity_change_while_running(rig):
    labels, overlays = rig.watch(), rig.watch(OVERLAY)
    rig.send('image_raw', image(0))
    assert rig.wait(lambda: len(labels) == 1)
    rig.node.set_parameters([Parameter('overlay.opacity', value=1.0)])
    rig.send('image_raw', image(1))
    assert rig.wait(lambda: len(overlays) == 2)
    assert (pixels_of(overlays[1]) == (0, 255, 0)).all()
    rig.node.set_parameters([Parameter('confidence_threshold', value=0.9)])
    rig.send('image_raw', image(2))
    assert rig.wait(lambda: len(labels) == len(overlays) == 3)
    assert (pixels_of(labels[2]) == 255).all()
    assert (pixels_of(overlays[2]) == UNKNOWN_COLOUR).all()


def test_compressed_images_are_decoded_no_larger_than_needed(rig, monkeypatch):
    asked = []
    decode = segmentation_node.decode_image
    monkeypatch.setattr(
        segmentation_node, 'decode_image', lambda m, r, **_: asked.append(r) or decode(m, r)
    )
    labels = rig.watch()
    jpeg = cv2.imencode('.jpg', picture(2, 33, 48))[1].tobytes()
    rig.send('image_raw/compressed', CompressedImage(header=header(), format='jpeg', data=jpeg))
    assert rig.wait(lambda: labels)
    assert asked == [4]
    assert (pixels_of(labels[0]) == 2).all()


def test_what_nobody_subscribes_to_is_not_made(rig):
    rig.send('image_raw', image())
    assert rig.wait(lambda: rig.dropped == {'nobody_subscribes': 1})
    assert rig.node.summary()['frames'] == 0
    assert 'lost' not in rig.diagnosis


def test_enable_switches_off_and_on(rig):
    labels = rig.watch()
    client = rig.other.create_client(SetBool, 'segmentation_node/enable')
    assert client.wait_for_service(60.0)

    def switch(on: bool) -> None:
        answer = client.call_async(SetBool.Request(data=on))
        assert rig.wait(answer.done)
        assert answer.result().success

    switch(False)
    rig.send('image_raw', image())
    assert rig.wait(lambda: rig.dropped == {'disabled': 1})
    assert 'disabled' in rig.diagnosis
    switch(True)
    rig.send('image_raw', image())
    assert rig.wait(lambda: labels)


def hold_segmenter(rig) -> tuple[threading.Event, threading.Event]:
    """Block inference until the first returned event is set; the second tells that it began."""
    gate, entered, segment = threading.Event(), threading.Event(), rig.node._segmenter.segment

    def held(pixels):
        entered.set()
        assert gate.wait(600.0)
        return segment(pixels)

    rig.node._segmenter.segment = held
    return gate, entered


def test_the_newest_image_waits_and_older_ones_give_way(rig):
    gate, entered = hold_segmenter(rig)
    labels = rig.watch()
    rig.send('image_raw', image(0))
    assert rig.wait(entered.is_set)
    for index in range(1, 5):
        rig.send('image_raw', image(index))
        assert rig.wait(lambda i=index: rig.node._worker.waiting == 1)
        assert rig.wait(lambda i=index: rig.dropped.get('worker_busy', 0) == i - 1)
    gate.set()
    assert rig.wait(lambda: len(labels) == 2)
    assert labels[1].header == header(4)
    assert rig.dropped == {'worker_busy': 3}


def test_an_image_is_decoded_while_the_one_before_is_segmented(rig, monkeypatch):
    decoded, decode = [], segmentation_node.decode_image

    def note(message, *options, **limits):
        decoded.append(message.header.stamp.nanosec)
        return decode(message, *options, **limits)

    monkeypatch.setattr(segmentation_node, 'decode_image', note)
    gate, entered = hold_segmenter(rig)
    labels = rig.watch()
    for index in range(2):
        rig.send('image_raw', image(index))
        assert rig.wait(lambda i=index: len(decoded) == i + 1)
        assert rig.wait(entered.is_set)

    assert not labels
    gate.set()
    assert rig.wait(lambda: len(labels) == 2)
    assert rig.dropped == {}


def wrong_encoding() -> Image:
    message = image()
    message.encoding = 'bayer_of_mine'
    return message


def zero_size() -> Image:
    return Image(header=header(), encoding='bgr8')


def short_step() -> Image:
    message = image()
    message.step -= 1
    return message


def truncated() -> Image:
    message = image()
    message.data = message.data[:50]
    return message


@pytest.mark.parametrize(
    ('bad', 'words'),
    [
        (wrong_encoding, 'bayer_of_mine'),
        (zero_size, 'empty: 0 x 0'),
        (short_step, 'step is 35'),
        (truncated, 'truncated'),
    ],
)
def test_a_bad_image_is_named_and_the_next_becomes_a_mask(rig, bad, words):
    labels = rig.watch()
    rig.send('image_raw', bad())
    assert rig.wait(lambda: rig.dropped == {'bad_image': 1})
    assert rig.wait(lambda: words in rig.diagnosis), rig.diagnosis
    rig.send('image_raw', image(1))
    assert rig.wait(lambda: labels)


def test_odd_strides_and_a_changed_resolution_are_taken(rig):
    labels, overlays = rig.watch(), rig.watch(OVERLAY)
    padded = image(0)
    rows = np.zeros((8, 41), np.uint8)
    rows[:, :36] = picture(0).reshape(8, 36)
    padded.step, padded.data = 41, rows.tobytes()
    sizes = (padded, image(1, height=20, width=31), image(2, height=5, width=3))
    for number, message in enumerate(sizes):
        rig.send('image_raw', message)
        assert rig.wait(lambda n=number: len(labels) == n + 1), rig.diagnosis
    assert rig.wait(lambda: len(overlays) == 3)
    assert (pixels_of(labels[0]) == 0).all()
    assert {(m.height, m.width) for m in labels} == {(8, 12)}
    assert [(m.height, m.width) for m in overlays] == [(8, 12), (10, 16), (5, 3)]


def test_missing_and_wrong_camera_info_are_named_and_masks_go_on(rig):
    labels, infos = rig.watch(), rig.watch('segmentation/label/camera_info', CameraInfo)
    rig.send('image_raw', image())
    assert rig.wait(lambda: labels)
    assert 'waiting for camera_info' in rig.diagnosis
    rig.send('camera_info', calibration(focal=0.0))
    assert rig.wait(lambda: 'focal lengths' in rig.diagnosis), rig.diagnosis
    rig.send('camera_info', calibration(width=16))
    assert rig.wait(lambda: rig.node._camera_info is not None)
    rig.send('image_raw', image(1))
    assert rig.wait(lambda: 'another camera or mode' in rig.diagnosis)
    assert rig.wait(lambda: len(labels) == 2)
    assert not infos
    for transition in ('deactivate', 'activate'):
        rig.change(transition)
    assert rig.node._camera_info is None


def test_a_missing_stamp_is_named_with_a_mask_all_the_same(rig):
    labels = rig.watch()
    rig.send('image_raw', image_message(picture(), 'bgr8', Header()))
    assert rig.wait(lambda: labels)
    assert 'header.stamp' in rig.diagnosis


def test_a_camera_that_falls_silent_is_named(rig, monkeypatch):
    monkeypatch.setattr(segmentation_node, '_SILENT_S', 1e9)
    rig.send('image_raw', image())
    assert rig.wait(lambda: rig.dropped)
    assert 'check the camera' not in rig.diagnosis
    monkeypatch.setattr(segmentation_node, '_SILENT_S', 0.1)
    told = r'no image for \d+ s; check the camera'
    assert rig.wait(lambda: re.search(told, rig.diagnosis))


def test_a_defect_in_the_network_does_not_end_the_node(rig):
    labels = rig.watch()
    good = rig.node._segmenter.segment

    def fail(_):
        raise RuntimeError('out of memory')

    rig.node._segmenter.segment = fail
    rig.send('image_raw', image())
    assert rig.wait(lambda: rig.dropped == {'error': 1})
    assert rig.wait(lambda: 'unexpected RuntimeError: out of memory' in rig.diagnosis)
    rig.node._segmenter.segment = good
    rig.send('image_raw', image(1))
    assert rig.wait(lambda: labels)


def drive(rig, street, count: int = 4, frame: str = 'lidar') -> None:
    """Send sweeps of the street and images, blue in the left half and red in the right."""
    make = street.Messages()
    pixels = np.full((street.HEIGHT, street.WIDTH, 3), 20, np.uint8)
    pixels[:, : street.WIDTH // 2, 0] = pixels[:, street.WIDTH // 2 :, 2] = 200
    rig.send('camera_info', make.info(START_NS))
    for index in range(count):
        stamp = START_NS + index * PERIOD_NS
        rig.send('points', make.cloud(stamp, frame))
        rig.send(
            'image_raw', street.stamped(image_message(pixels, 'bgr8', Header()), stamp, 'camera')
        )
        assert rig.wait(lambda n=index: rig.node.summary()['frames'] == n + 1), rig.diagnosis


def test_the_painted_cloud_has_the_colours_of_what_the_camera_sees(make_rig, street, tmp_path):
    file = street.calibration(tmp_path / 'calibration.yaml')
    # A deep queue, as on a busy machine a view drops all frames but the newest.
    rig = make_rig(calibration_file=str(file), pipeline__queue=100).start()
    clouds = rig.watch(POINTS, PointCloud2)
    drive(rig, street)
    assert rig.wait(lambda: rig.node.summary()['painted'].get('frames') == 4), rig.diagnosis
    assert rig.wait(lambda: clouds)
    message = clouds[0]
    assert [f.name for f in message.fields] == ['x', 'y', 'z', 'rgb', 'label', 'confidence']
    assert message.header.frame_id == 'lidar'
    kinds = [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4')]
    points = np.frombuffer(message.data, [*kinds, ('label', 'u1'), ('confidence', 'u1')])
    # x forward, y to the left: blue, label 0, on the left; red, label 2, on the right.
    assert (points['x'] > 0).all()
    beside = np.abs(points['y']) > 0.15 * points['x']
    assert (points['label'][beside] == np.where(points['y'] > 0, 0, 2)[beside]).all()
    assert set(points['rgb'][points['label'] == 2]) == {0xFF0000}
    assert (points['confidence'] == 200).mean() > 0.9


def test_without_transforms_masks_go_on_and_the_cloud_says_why(make_rig, street):
    rig = make_rig().start()
    labels, clouds = rig.watch(), rig.watch(POINTS, PointCloud2)
    drive(rig, street)
    assert rig.wait(lambda: len(labels) == 4)
    assert rig.wait(lambda: 'no transform' in rig.diagnosis), rig.diagnosis
    assert not clouds


def test_sweeps_are_heard_only_while_the_cloud_is_watched(rig):
    def heard() -> int:
        return rig.node.count_subscribers('points')

    assert heard() == 0
    watcher = rig.other.create_subscription(PointCloud2, POINTS, lambda _: None, 10)
    assert rig.wait(lambda: heard() == 1)
    # On the executor's thread, which waits on it.
    rig._executor.create_task(rig.other.destroy_subscription, watcher)
    assert rig.wait(lambda: heard() == 0)


def test_painting_that_cannot_begin_leaves_nothing_behind(rig, monkeypatch):
    def refuse(*arguments):
        raise OSError('no more subscriptions')

    with monkeypatch.context() as patch:
        patch.setattr(painted_cloud, 'FollowingSubscription', refuse)
        rig.watch(POINTS, PointCloud2)
        assert rig.wait(lambda: rig.node.errors['_look'] > 2)
        assert 'no more subscriptions' in rig.diagnosis
    assert rig.wait(lambda: rig.node.count_subscribers('points') == 1)
    assert rig.node.count_subscribers('odom') == 1
    # The threads of the failed attempts have ended.
    assert rig.wait(lambda: [t.name for t in threading.enumerate()].count('frames') == 1)


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'model': ''}, 'model is empty'),
        ({'model': '/no/model'}, 'does not exist; give a folder'),
        ({'backend': 'tensorrt'}, 'pip install'),
        ({'calibration_file': '/no/file.yaml'}, '/no/file.yaml'),
    ],
)
def test_what_cannot_be_loaded_refuses_configuration_and_says_why(make_rig, parameters, words):
    rig = make_rig(**parameters)
    assert rig.node.trigger_configure() == FAILURE
    assert words in rig.node.failure
    assert '\n' not in rig.node.failure
    state = rig.node._state_status()
    assert (state.level, state.summary) == (ERROR, rig.node.failure)


def test_a_corrupt_model_is_refused_and_a_repaired_one_taken(make_rig, model_folder):
    whole = (model_folder / 'model.onnx').read_bytes()
    (model_folder / 'model.onnx').write_bytes(whole[:-10])
    rig = make_rig()
    assert rig.node.trigger_configure() == FAILURE
    assert 'sha256' in rig.node.failure
    (model_folder / 'model.onnx').write_bytes(whole)
    rig.start()
    labels = rig.watch()
    rig.send('image_raw', image())
    assert rig.wait(lambda: labels)


def test_progress_of_an_engine_is_on_diagnostics_while_it_is_built(make_rig, monkeypatch):
    """A build takes minutes; test_engine_cache tests when an engine is built again."""
    rig = make_rig()
    statuses: list = []
    rig.other.create_subscription(DiagnosticArray, '/diagnostics', statuses.append, 10)
    load = segmentation_node.load

    def slow(*arguments, progress):
        rig._thread.start()
        assert rig.wait(rig.node._diagnostics._publisher.get_subscription_count)
        progress('tactics', 3, 7)
        return load(*arguments)

    monkeypatch.setattr(segmentation_node, 'load', slow)
    assert rig.node.trigger_configure() == SUCCESS

    def said(words: str) -> bool:
        return any(words in s.message for array in statuses for s in array.status)

    assert rig.wait(lambda: said('building the engine: tactics 3 of 7'))
    assert rig.node.count_publishers(LABEL) == 1
    assert rig.wait(lambda: said('ONNX Runtime CPU fp32'))


def test_memory_stays_flat(rig):
    """Resident memory does not grow over 1,500 images; `make soak` sends 10,000."""
    labels, overlays = rig.watch(), rig.watch(OVERLAY)

    def resident_mib() -> float:
        return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 2**20

    for index in range(1500):
        if index == 500:
            settled = resident_mib()
        rig.send('image_raw', image(index, height=400, width=22))
        assert rig.wait(lambda: labels and overlays), rig.diagnosis
        labels.clear()
        overlays.clear()
    assert rig.dropped == {}
    # If all 1,000 images of 26 kB were kept, it would grow by 25 MiB.
    assert resident_mib() - settled < 4.0


def test_every_state_can_be_left_and_entered_again(rig):
    labels = rig.watch()
    for index in range(2):
        rig.send('image_raw', image(index))
        assert rig.wait(lambda n=index: len(labels) == n + 1)
        assert rig.change('deactivate') == SUCCESS
        assert rig.change('cleanup') == SUCCESS
        assert rig.change('configure') == SUCCESS
        assert rig.change('activate') == SUCCESS
        assert rig.wait(lambda: rig._publishers['image_raw'].get_subscription_count() == 1)
        publisher = next(p for p in rig.node.publishers if p.topic_name == f'/{LABEL}')
        assert rig.wait(publisher.get_subscription_count)


def test_an_image_that_takes_long_does_not_keep_the_node_from_its_end(rig, monkeypatch):
    gate, entered = hold_segmenter(rig)
    patience: list[float] = []
    end = Worker.close

    def told(worker, timeout_s, **options):
        patience.append(timeout_s)
        return end(worker, timeout_s, **options)

    closed, segmenter = threading.Event(), rig.node._segmenter
    close = segmenter.close
    segmenter.close = lambda: (close(), closed.set())
    rig.watch()
    rig.send('image_raw', image())
    assert rig.wait(entered.is_set)
    with monkeypatch.context() as patch:
        patch.setattr(Worker, 'close', told)
        assert rig.change('deactivate') == SUCCESS
    assert 0.0 < sum(patience) < 1.0
    assert rig.change('cleanup') == SUCCESS
    assert rig.dropped == {'stopped': 1}
    # The segmenter stays open until the image is finished.
    assert not closed.is_set()
    gate.set()
    assert rig.wait(closed.is_set)


def test_label_info_is_stamped_by_the_time_of_the_masks(make_rig, monkeypatch):
    stamps: list[int] = []
    make = mask_outputs.label_info

    def remember(classes, threshold, stamp):
        stamps.append(stamp.sec)
        return make(classes, threshold, stamp)

    monkeypatch.setattr(mask_outputs, 'label_info', remember)
    rig = make_rig(use_sim_time=True).start()
    # Before the first /clock message the time is 0.
    assert stamps == [0]
    for seconds in (1000, 1001, 500):
        rig.send('/clock', Clock(clock=Time(sec=seconds)))
        assert rig.wait(lambda now=seconds: rig.node.get_clock().now().nanoseconds == now * 10**9)
        assert rig.wait(lambda now=seconds: stamps[-1] <= now and stamps[-1])
    # Published again when time starts, and when the bag restarts.
    assert stamps == [0, 1000, 500]


@pytest.mark.parametrize(
    ('error', 'reason', 'text'),
    [
        (VideoError('packets are missing'), 'incomplete_video', 'packets are missing'),
        (DependencyError('encoded video needs PyAV'), 'error', 'encoded video needs PyAV'),
        (KeyError('a'), 'error', "unexpected KeyError: 'a'"),
    ],
)
def test_only_errors_that_nobody_foresaw_are_unexpected(error, reason, text):
    node = mock.Mock()
    SegmentationNode._on_failure(node, error)
    node._figures.dropped.assert_called_once_with(reason)
    node.note_error.assert_called_once_with(reason, text)
