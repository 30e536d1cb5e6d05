"""Fixtures shared by the suite: the real drive, an S3 server, a DDS domain for each test."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Before NumPy and PyTorch are imported: workers share the cores, and threads that spin for
    # those of another worker take minutes where one thread takes seconds.
    for library in ('OMP', 'OPENBLAS', 'MKL'):
        os.environ.setdefault(f'{library}_NUM_THREADS', '1')

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass
else:
    # A machine that stalls is no defect of what is tested.
    settings.register_profile(
        'suite', deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile('suite')

REPOSITORY = Path(__file__).resolve().parent.parent

# A shell starts what runs in its background with SIGINT ignored, and all that it starts inherits
# that; the tests interrupt processes of theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def real_drive() -> Path:
    """The folder of the real drive: `bag`, `ground_truth`, `point_labels`; read only.

    DRIVE_SEGMENT_DATA names it; without, it is looked for beside the repository.
    """
    beside = REPOSITORY.parent / 'shared' / 'data' / 'pandaset_002_front'
    folder = Path(os.environ.get('DRIVE_SEGMENT_DATA', beside))
    if not (folder / 'bag').is_dir():
        pytest.skip(f'no real drive in {folder}; set DRIVE_SEGMENT_DATA to its folder')
    return folder


@pytest.fixture(scope='session')
def real_bag(real_drive: Path) -> Path:
    """The real drive's bag: front camera, 64-beam LiDAR, tf; 56 sweeps."""
    return real_drive / 'bag'


class S3Server:
    """An S3 server in this process, on the loopback.

    Attributes:
        address: its URL.
        asked: method and path of each request since a test began.
        sent: bytes of objects sent since then.
        refuse: whether to answer a request, by method and path, with an error.
    """

    def __init__(self, running: Any) -> None:
        self.address = 'http://{}:{}'.format(*running.get_host_and_port())
        self._application = running._server.app
        running._server.app = self
        self.reset()

    def reset(self) -> None:
        """Count from here on, and answer all."""
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
    """The server that `bucket` is on."""
    _s3_server.reset()
    return _s3_server


_BUCKETS = itertools.count()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The URL of an empty bucket; nothing is asked of any other host."""
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
    # Clients keep the server and the credentials that they were made with.
    s3fs.S3FileSystem.clear_instance_cache()
    path = location(f's3://bucket-{next(_BUCKETS)}/')
    filesystem(path).mkdir(key(path))
    s3_server.reset()
    yield path
    s3fs.S3FileSystem.clear_instance_cache()


# Above 101 the ports of DDS lie where the system chooses those of other programs. Each test takes
# the next, so that what a test left in DDS does not answer another; processes start far apart.
_DOMAINS = itertools.cycle(1 + (os.getpid() * 40 + step) % 101 for step in range(101))


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A DDS domain that no other test on this machine is using, closed to other machines."""
    for domain in itertools.islice(_DOMAINS, 101):
        # A name that one process on the machine can hold, and that goes with it.
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f'\0drive_segment_ros test domain {domain}')
            except OSError:
                continue
            monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
            monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
            yield domain
            return
    pytest.fail('all 101 DDS domains of this machine are in use by tests')


# Tests by their folder; what a marker means is in pyproject.toml.
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
    import numpy as np
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
    """A model folder whose answer is known, see `write_model`; images are 8 x 12 px."""
    write_model(tmp_path / 'model')
    return tmp_path / 'model'
