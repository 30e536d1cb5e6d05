"""Fixtures shared by the suite: the real drive, a browser, an S3 server, a DDS domain per test."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Set before NumPy and PyTorch are imported. Workers of xdist share the cores: with several
    # threads each, which spin while they wait, tests take minutes instead of seconds.
    for library in ('OMP', 'OPENBLAS', 'MKL'):
        os.environ.setdefault(f'{library}_NUM_THREADS', '1')

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass
else:
    # Slow examples are due to a busy machine, not to the code under test.
    settings.register_profile(
        'suite', deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile('suite')

REPOSITORY = Path(__file__).resolve().parent.parent

# Shells start background jobs with SIGINT ignored, and child processes inherit that; tests send
# SIGINT to processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Restore the signal handlers, as an interrupted command leaves signals ignored.

    Otherwise the processes that later tests start would ignore them, too. Its pipe is closed to
    signals as well: the next one would end this process.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(-1)


# Timeout of a page, long enough while other tests keep the cores busy.
_BROWSER_MS = 180_000.0


def _patient(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(**options: Any) -> Any:
        page = make(**options)
        page.set_default_timeout(_BROWSER_MS)
        return page

    return made


@pytest.fixture(scope='session')
def browser() -> Iterator[Any]:
    """Start a headless Chromium."""
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    if chromium is None:
        pytest.skip('no Chromium on this machine; apt-get install chromium')
    sync_api = pytest.importorskip('playwright.sync_api')
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs privileges that containers lack; only our own pages are opened.
        started = playwright.chromium.launch(
            executable_path=chromium, args=['--no-sandbox'], timeout=_BROWSER_MS
        )
        for kind in ('new_page', 'new_context'):
            setattr(started, kind, _patient(getattr(started, kind)))
        yield started
        started.close()


@pytest.fixture(scope='session')
def real_drive() -> Path:
    """Return the folder of the real drive: `bag`, `ground_truth`, `point_labels`; read-only.

    Set by DRIVE_SEGMENT_DATA; by default it is expected beside the repository.
    """
    beside = REPOSITORY.parent / 'shared' / 'data' / 'pandaset_002_front'
    folder = Path(os.environ.get('DRIVE_SEGMENT_DATA', beside))
    if not (folder / 'bag').is_dir():
        pytest.skip(f'no real drive in {folder}; set DRIVE_SEGMENT_DATA to its folder')
    return folder


@pytest.fixture(scope='session')
def real_bag(real_drive: Path) -> Path:
    """Return the real drive's bag: front camera, 64-beam LiDAR, /tf; 56 sweeps."""
    return real_drive / 'bag'


class S3Server:
    """An S3 server in this process, on localhost.

    Attributes:
        address: URL.
        asked: method and path of each request since the last reset.
        sent: bytes of the objects downloaded since then.
        refuse: function of method and path; where it is true, the answer is 403 Forbidden.
    """

    def __init__(self, running: Any) -> None:
        self.address = 'http://{}:{}'.format(*running.get_host_and_port())
        self._application = running._server.app
        running._server.app = self
        self.reset()

    def reset(self) -> None:
        """Reset the counts and refuse no request."""
        self.asked: list[tuple[str, str]] = []
        self.sent = 0
        self.refuse: Callable[[str, str], bool] = lambda method, path: False

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer a request (WSGI)."""
        method, path = environ['REQUEST_METHOD'], environ['PATH_INFO']
        self.asked.append((method, path))
        if self.refuse(method, path):
            start_response('403 Forbidden', [('Content-Type', 'application/xml')])
            denied = b'<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
            return [] if method == 'HEAD' else [denied]
        answer = b''.join(self._application(environ, start_response))
        if method == 'GET' and path.count('/') > 1:
            self.sent += len(answer)
        return [answer]


@pytest.fixture(scope='session')
def _s3_server() -> Iterator[S3Server]:
    server = pytest.importorskip('moto.server', reason='moto is not installed')
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    running.start()
    yield S3Server(running)
    running.stop()


@pytest.fixture
def s3_server(_s3_server: S3Server) -> S3Server:
    """Return the server of `bucket`, with its counts reset."""
    _s3_server.reset()
    return _s3_server


_BUCKETS = itertools.count()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the URL of an empty bucket on `s3_server`; no other host is contacted."""
    pytest.importorskip('s3fs', reason='s3fs is not installed')
    import s3fs

    from drive_segment_ros.storage import filesystem, key, location

    for name in ('AWS_PROFILE', 'AWS_SESSION_TOKEN', 'AWS_ENDPOINT_URL_S3'):
        monkeypatch.delenv(name, raising=False)
    for name in ('AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE'):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'test')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'test')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL', s3_server.address)
    # Cached clients would keep the endpoint and credentials of before.
    s3fs.S3FileSystem.clear_instance_cache()
    path = location(f's3://bucket-{next(_BUCKETS)}/')
    filesystem(path).mkdir(key(path))
    s3_server.reset()
    yield path
    s3fs.S3FileSystem.clear_instance_cache()


# Domains above 101 have ports in the ephemeral range of other programs. Each test takes the next
# domain, so that participants left by a test do not answer another; workers start far apart.
_DOMAINS = itertools.cycle(1 + (os.getpid() * 40 + step) % 101 for step in range(101))


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Set and return a DDS domain that no other test on this machine uses; localhost only."""
    for domain in itertools.islice(_DOMAINS, 101):
        with _claim(f'domain {domain}') as is_ours:
            if not is_ours:
                continue
            monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
            monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
            yield domain
            return
    pytest.fail('all 101 DDS domains of this machine are in use by tests')


# Below the ephemeral range: another program could take a port before the test's program binds it.
_PORTS = itertools.cycle(20_000 + (os.getpid() * 40 + step) % 10_000 for step in range(10_000))


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Return a function that reserves a free TCP port of localhost for the test and returns it."""
    with contextlib.ExitStack() as claims:

        def choose() -> int:
            return next(
                port
                for port in itertools.islice(_PORTS, 10_000)
                if claims.enter_context(_claim(f'port {port}')) and _can_be_bound(port)
            )

        yield choose


def _can_be_bound(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _claim(what: str) -> Iterator[bool]:
    """Reserve a name on this machine, until the process ends at the latest; yield success."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f'\0drive_segment_ros test {what}')
        except OSError:
            yield False
        else:
            yield True


# Marker -> folders of its tests; pyproject.toml describes the markers.
_NUMERIC_STAGES = ('common', 'deploy', 'evaluation', 'networks', 'pseudo_labels', 'training')
_MARKED = {
    'numeric': (
        'perception',
        'inference',
        *(f'offline_training/{stage}' for stage in _NUMERIC_STAGES),
    ),
    'unit': ('dataset', 'inference', 'perception', 'ros'),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder."""
    for marker, folders in _MARKED.items():
        marked = tuple(str(REPOSITORY / 'test' / folder) + os.sep for folder in folders)
        for item in items:
            if str(item.path).startswith(marked):
                item.add_marker(marker)


def write_model(folder: Path) -> None:
    """Write a model whose label is each pixel's strongest channel, and confidence its value."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; `pip install .[train]`')
    from onnx import TensorProto, helper, numpy_helper

    from drive_segment_ros.inference.model import Model, ModelClass

    nodes = [
        helper.make_node('Cast', ['image'], ['pixels'], to=TensorProto.FLOAT),
        helper.make_node('ArgMax', ['pixels'], ['strongest'], axis=3, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['label'], to=TensorProto.UINT8),
        helper.make_node('ReduceMax', ['pixels', 'axes'], ['value'], keepdims=0),
        helper.make_node('Cast', ['value'], ['confidence'], to=TensorProto.UINT8),
    ]
    height, width = 8, 12
    shape = [1, height, width]
    graph = helper.make_graph(
        nodes,
        'strongest channel',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, [*shape, 3])],
        [
            helper.make_tensor_value_info(n, TensorProto.UINT8, shape)
            for n in ('label', 'confidence')
        ],
        [numpy_helper.from_array(np.array([3]), 'axes')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.onnx').write_bytes(data)
    colours = ((0, 0, 255), (0, 255, 0), (255, 0, 0))
    described = Model(
        onnx_path=folder / 'model.onnx',
        sha256=hashlib.sha256(data).hexdigest(),
        precision='fp32',
        opset=18,
        input_size=(height, width),
        output_size=(height, width),
        classes=[ModelClass(n, c) for n, c in zip(('blue', 'green', 'red'), colours, strict=True)],
        provenance={'run': 'none'},
    )
    (folder / 'model.json').write_text(json.dumps(described.to_dict()))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Return a model folder with known output, see `write_model`; input is 8 x 12 px."""
    write_model(tmp_path / 'model')
    return tmp_path / 'model'


@pytest.fixture(scope='session')
def as_ros_1() -> Callable[..., Path]:
    """Return `write_ros_1`, which converts a ROS 2 bag to a ROS 1 bag."""
    return write_ros_1


def write_ros_1(
    bag: Path, file: Path, compression: str = '', start_ns: int = 0, stop_ns: int = 2**63
) -> Path:
    """Write a bag's messages, or those between two bag stamps, as a ROS 1 bag; return the file.

    /tf_static is latched; `seq` of a header is the number of the message.
    """
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from drive_segment_ros.ros.bags import BagReader

    tf = 'tf2_msgs/msg/TFMessage'
    modern, old = get_typestore(Stores.ROS2_JAZZY), get_typestore(Stores.ROS1_NOETIC)
    old.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', tf))
    writer = Writer(file)
    if compression:
        writer.set_compression(Writer.CompressionFormat[compression.upper()])
    with BagReader(bag) as reader, writer:
        connections = {
            topic.name: writer.add_connection(
                topic.name,
                topic.type,
                typestore=old,
                latching=int(topic.name == '/tf_static'),
            )
            for topic in reader.topics.values()
        }
        for number, message in enumerate(reader.messages(None, start_ns, stop_ns)):
            raw = bytearray(modern.cdr_to_ros1(message.raw, message.msgtype))
            if message.msgtype != tf:
                raw[:4] = number.to_bytes(4, 'little')
            writer.write(connections[message.topic], message.bag_stamp_ns, bytes(raw))
    return file


@pytest.fixture(scope='session')
def encode_video() -> Callable[..., list[tuple[int, bytes]]]:
    """Return `encoded_video`, which encodes pictures as video."""
    return encoded_video


def encoded_video(
    pictures: Sequence[NDArray[np.uint8]],
    encoder: str = 'libx264',
    group: int = 12,
    between: int = 0,
    **options: str,
) -> list[tuple[int, bytes]]:
    """Encode pictures; skip the test where the encoder is missing.

    Args:
        pictures: (H, W, 3) BGR each.
        encoder: FFmpeg's name, `libx264` or `libx265`.
        group: key frame interval, pictures.
        between: largest number of consecutive B-frames, which refer to later pictures.
        options: further options of the encoder.

    Returns:
        For each packet, in the order they are sent, the number of its picture, and its bytes.
    """
    av = pytest.importorskip('av', reason="PyAV is not installed; `pip install '.[video]'`")
    try:
        context = av.CodecContext.create(encoder, 'w')
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f'FFmpeg was built without {encoder}')
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt = 'yuv420p'
    context.time_base = Fraction(1, 10)
    context.framerate = 10
    context.gop_size, context.max_b_frames = group, between
    x265 = f'log-level=none:keyint={group}:min-keyint={group}:bframes={between}:scenecut=0'
    params = {'x265-params': x265} if encoder == 'libx265' else {'sc_threshold': '0'}
    context.options = {'preset': 'veryfast', **params, **options}
    packets = []
    for number, picture in enumerate([*pictures, None]):
        frame = None
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(picture, format='bgr24')
            frame.pts = number
        packets += [(packet.pts, bytes(packet)) for packet in context.encode(frame)]
    return packets


@pytest.fixture(scope='session')
def decode_video() -> Callable[..., dict[int, NDArray[np.uint8]]]:
    """Return a function that decodes video packets with PyAV alone, as a reference."""

    def decode(codec: str, packets: Sequence[tuple[int, bytes]]) -> dict[int, NDArray[np.uint8]]:
        import av

        context = av.CodecContext.create(codec, 'r')
        pictures = {}
        for number, data in [*packets, (0, None)]:
            packet = None
            if data is not None:
                packet = av.Packet(data)
                packet.pts = number
            for frame in context.decode(packet):
                pictures[frame.pts] = frame.to_ndarray(format='bgr24')
        return pictures

    return decode
