"""Images and sweeps as drivers publish them: `inspect` reports what `extract` then does."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.lib import recfunctions

from drive_segment_ros.errors import BagError
from drive_segment_ros.frame.parameters import FrameParameters
from offline_training.bags import sensors
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect


def problems(report) -> str:
    return '\n'.join(f'{p.what} -> {p.fix}' for p in report.problems)


def run(bag, folder, **parameters):
    return extract([bag], folder, FrameParameters(**parameters), ExtractOptions(workers=1))


class Published:
    """Callback that encodes images, sets message fields, and records the original pixels."""

    def __init__(self, encode, **changes) -> None:
        self.pictures: list[np.ndarray] = []
        self._encode, self._changes = encode, changes

    def __call__(self, message, pixels) -> None:
        self.pictures.append(pixels)
        for name, value in self._changes.items():
            setattr(message, name, value)
        message.data = np.frombuffer(self._encode(pixels), np.uint8)
        if hasattr(message, 'step'):
            rows = message.height * (1.5 if message.encoding == 'nv12' else 1)
            message.step = round(len(message.data) / rows)


def mosaic(pixels: np.ndarray) -> np.ndarray:
    result = pixels[..., 1].copy()
    result[::2, ::2], result[1::2, 1::2] = pixels[::2, ::2, 2], pixels[1::2, 1::2, 0]
    return result


def file(suffix, change=lambda pixels: pixels, padding=0):
    return lambda pixels: cv2.imencode(suffix, change(pixels))[1].tobytes() + bytes(padding)


def deep(pixels: np.ndarray) -> bytes:
    return (pixels[..., 1].astype('<u2') << 4).tobytes()


def nv12(pixels: np.ndarray) -> bytes:
    planes = cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420)
    rows, (u, v) = len(pixels), planes[len(pixels) :].reshape(2, -1)
    return planes[:rows].tobytes() + np.stack([u, v], axis=-1).tobytes()


RIGHT_COLOURS = 'have wrong colours in viewers'


@pytest.mark.parametrize(
    ('encode', 'changes', 'suffix', 'told', 'parameters'),
    [
        (
            file('.png', mosaic),
            {'format': 'bayer_rggb8; png compressed '},
            '.png',
            RIGHT_COLOURS,
            {},
        ),
        (
            file('.jpg', mosaic),
            {'format': 'bayer_rggb8; jpeg compressed '},
            '.png',
            RIGHT_COLOURS,
            {},
        ),
        (
            file('.jpg', lambda p: p[..., ::-1]),
            {'format': 'rgb8; jpeg compressed rgb8'},
            '.png',
            RIGHT_COLOURS,
            {},
        ),
        (file('.jpg', padding=100_000), {}, '.jpg', '', {}),
        (file('.webp'), {'format': 'webp'}, '.png', '', {}),
        (file('.tiff'), {'format': 'bgr8; tiff compressed bgr8'}, '.png', '', {}),
        (file('.jpg', lambda p: p[..., 1]), {'format': 'mono8; jpeg compressed '}, '.jpg', '', {}),
        (nv12, {'encoding': 'nv12'}, '.png', '', {}),
        (deep, {'encoding': 'mono16'}, '.png', '--set image_bits=12', {'image_bits': 12}),
    ],
)
def test_pictures_are_right_and_their_oddities_told(
    make_bag, tmp_path, encode, changes, suffix, told, parameters
):
    published = Published(encode, **changes)
    bag = make_bag(image=published, compressed='encoding' not in changes)
    report = inspect(bag)
    assert told in problems(report)
    assert bool(told) == bool(report.problems)
    assert (report.cameras[0].width, report.cameras[0].height) == (160, 120)
    made = run(bag, tmp_path / 'dataset', **parameters)
    assert made.frames == 4
    assert made.dropped == {}
    stored = sorted((tmp_path / 'dataset').glob('drive/*/image/*'))
    for path, pixels in zip(stored, published.pictures, strict=True):
        assert path.suffix == suffix
        grey = 'mono' in ''.join(changes.values())
        expected = pixels[..., [1, 1, 1]] if grey else pixels
        # The median, because chroma subsampling blurs colours at edges.
        assert np.median(np.abs(cv2.imread(str(path)).astype(int) - expected)) <= 3


@pytest.mark.parametrize(
    ('encode', 'changes', 'reason', 'parameters'),
    [
        (lambda p: p[..., :2].tobytes(), {'encoding': '8UC2'}, "encoding '8UC2'", {}),
        (deep, {'encoding': 'mono16'}, '12-bit sensor; --set image_bits=12', {}),
        (lambda p: file('.jpg')(p)[:-2] + bytes(9000), {}, 'truncated', {}),
        (file('.gif') if cv2.haveImageWriter('.gif') else bytes, {}, 'neither JPEG', {}),
        (file('.jpg'), {}, '160 x 120 px, above the limit', {'max_pixels': 19_199}),
    ],
)
def test_what_extract_refuses_is_told_before(
    make_bag, tmp_path, encode, changes, reason, parameters
):
    bag = make_bag(image=Published(encode, **changes), compressed='encoding' not in changes)
    if not parameters:
        assert 'cannot be decoded: image 1000.000000000 of optical0' in problems(inspect(bag))
        assert reason in problems(inspect(bag))
    with pytest.raises(BagError, match='no frame could be extracted') as error:
        run(bag, tmp_path / 'dataset', **parameters)
    assert reason in str(error.value)


def test_a_bomb_costs_its_frame_only_and_nothing_is_decoded(make_bag, tmp_path, monkeypatch):
    numbers = iter(range(9))

    def image(message, pixels) -> None:
        if next(numbers) == 1:
            head = message.data.tobytes().index(b'\xff\xc0')
            message.data = message.data.copy()
            message.data[head + 5 : head + 9] = 0x75, 0x30, 0x75, 0x30  # 30,000 x 30,000

    decode = cv2.imdecode
    decoded = []
    bag = make_bag(image=image)
    monkeypatch.setattr(cv2, 'imdecode', lambda *a: decoded.append(1) or decode(*a))
    report = run(bag, tmp_path / 'dataset')
    assert report.dropped == {'bad_image': 1}
    assert report.frames == len(decoded) == 3


def test_a_sweep_of_too_many_points_costs_its_frame_only(make_bag, tmp_path):
    def sweep(message, number) -> None:
        if number == 1:
            message.width, message.data = 2 * message.width, np.tile(message.data, 2)

    report = run(make_bag(sweep=sweep), tmp_path / 'dataset', max_points=23_040)
    assert report.dropped == {'bad_cloud': 1}
    assert report.frames == 3


def empty_first(message, number) -> None:
    if number == 0:
        message.width, message.row_step, message.data = 0, 0, np.zeros(0, np.uint8)


def test_an_empty_first_sweep_is_not_judged_for_all(make_bag):
    report = inspect(make_bag(sweep=empty_first))
    assert report.problems == []
    assert report.lidars[0].beams == 32
    assert report.lidars[0].points == 32 * 720


def test_a_field_of_unknown_type_refuses_no_sweep(make_bag, tmp_path):
    def sweep(message, number) -> None:
        message.fields[3].datatype = 77  # intensity

    bag = make_bag(sweep=sweep)
    assert "point field 'intensity' has unknown datatype 77 -> it is ignored" in problems(
        inspect(bag)
    )
    assert run(bag, tmp_path / 'dataset').frames == 4


def with_clock(ahead_s):
    def change(points: np.ndarray) -> np.ndarray:
        clock = 1000.05 + ahead_s + points['t'].astype(float)  # 1000.05: stamp of the first sweep
        changed = recfunctions.drop_fields(points, 't')
        return recfunctions.append_fields(changed, 'timestamp', clock, '<f8', usemask=False)

    return change


def test_times_of_another_clock_are_taken_relative_and_told(make_bag):
    report = inspect(make_bag(cloud=with_clock(-900.0)))
    assert 'are of another clock, -900.100 s against the stamps' in problems(report)
    assert '--set stamped_point=last' in problems(report)
    assert (report.lidars[0].first_time_s, report.lidars[0].last_time_s) == pytest.approx(
        (0.0, 0.1), abs=1e-3
    )


def test_atomic_time_is_told_and_taken_out(make_bag):
    report = inspect(make_bag(cloud=with_clock(37.0)))
    assert 'another clock, +37.000 s against the stamps -> this is GPS or' in problems(report)
    assert report.lidars[0].first_time_s == pytest.approx(-0.1, abs=1e-3)


@pytest.mark.parametrize(
    ('name', 'scale', 'told'),
    [
        ('time_offset_ns', 1e9, ''),
        ('timeOffset', 1e3, ''),
        (
            'curvature',
            1e3,
            r'points have no time -> .*--set time_field=curvature if that is what it holds',
        ),
    ],
)
def test_times_of_other_names_are_found_or_named(make_bag, tmp_path, name, scale, told):
    def change(points: np.ndarray) -> np.ndarray:
        renamed = recfunctions.rename_fields(points, {'t': name})
        renamed[name] *= scale
        return renamed

    bag = make_bag(cloud=change)
    report = inspect(bag)
    if not told:
        assert report.problems == []
        assert report.lidars[0].first_time_s == pytest.approx(-0.1, abs=1e-3)
        return
    assert re.search(told, problems(report))
    run(bag, tmp_path / 'dataset', time_field='curvature')
    (index,) = (tmp_path / 'dataset').glob('drive/*/frames.jsonl')
    records = index.read_text()
    assert '"motion": "per_point"' in records


@pytest.mark.parametrize('wild', [-40.0, 3e9, np.inf])
def test_three_wild_times_change_no_pair(make_bag, tmp_path, wild):
    def change(points: np.ndarray) -> np.ndarray:
        points = points.copy()
        points['t'][[100, 9000, 20_000]] = wild
        return points

    bag = make_bag(cloud=change)
    report = inspect(bag)
    assert '3 of 23040 points have no or an implausible time in t' in problems(report)
    assert report.lidars[0].first_time_s == pytest.approx(-0.1, abs=1e-3)
    run(bag, tmp_path / 'dataset')
    run(make_bag('clean'), tmp_path / 'dataset')
    frames = [
        sorted(path.name for path in (tmp_path / 'dataset').glob(f'{drive}/*/segment/*'))
        for drive in ('drive', 'clean')
    ]
    assert frames[0] == frames[1]


def test_a_depth_topic_is_no_camera():
    names = ('/c/depth/image/compressedDepth', '/c/image_raw/compressed')
    topics = {
        name: SimpleNamespace(name=name, type=sensors.COMPRESSED_IMAGE, count=1) for name in names
    }
    cameras = sensors.cameras(SimpleNamespace(topics=topics))
    assert [topic.name for topic in cameras] == ['/c/image_raw/compressed']
