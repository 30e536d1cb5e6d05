"""Images of encoded video equal the decoder's output, in whatever order they are read."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import DependencyError, ImageError, VideoError
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.ros.image_size import image_size
from drive_segment_ros.ros.images import decode_image, encoded_image
from drive_segment_ros.ros.video import VideoImage, VideoStream
from drive_segment_ros.ros.video_packets import codec_of, parse_packet

COUNT, GROUP = 30, 10
HEIGHT, WIDTH = 96, 128
CODECS = {'libx264': 'h264', 'libx265': 'hevc'}


def pictures() -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, 2 * WIDTH, 3), np.uint8)
    scene = cv2.GaussianBlur(noise, (0, 0), 2)
    return [np.ascontiguousarray(scene[:, 3 * k : 3 * k + WIDTH]) for k in range(COUNT)]


def message(number: int, data: bytes, encoding: str = 'h264'):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=number, nanosec=0), frame_id='camera')
    return SimpleNamespace(header=header, encoding=encoding, data=np.frombuffer(data, np.uint8))


def images(packets, encoding: str = 'h264', stream: VideoStream | None = None):
    """Return the image of each packet by picture number."""
    stream = stream or VideoStream()
    return {number: stream.push(message(number, data, encoding)) for number, data in packets}


@pytest.mark.parametrize('encoder', CODECS)
@pytest.mark.parametrize('between', [0, 2])
@pytest.mark.parametrize('order', ['sent', 'shown', 'backwards', 'every third'])
def test_pictures_are_those_of_the_decoder(encode_video, decode_video, encoder, between, order):
    packets = encode_video(pictures(), encoder, GROUP, between)
    expected = decode_video(CODECS[encoder], packets)
    assert sorted(expected) == list(range(COUNT))
    found = images(packets, CODECS[encoder])
    numbers = [number for number, _ in packets]
    if order != 'sent':
        numbers = sorted(numbers, reverse=order == 'backwards')
    for number in numbers[:: 3 if order == 'every third' else 1]:
        assert np.array_equal(decode_image(found[number]), expected[number]), number
        assert image_size(found[number]) == (HEIGHT, WIDTH)
        assert found[number].header.stamp.sec == number


@pytest.mark.parametrize('encoder', CODECS)
@pytest.mark.parametrize('between', [0, 2])
def test_a_live_image_needs_no_later_packet(encode_video, decode_video, encoder, between):
    packets = encode_video(pictures(), encoder, GROUP, between)
    expected = decode_video(CODECS[encoder], packets)
    stream = VideoStream()
    for number, data in packets:
        image = stream.push(message(number, data, CODECS[encoder]))
        assert np.array_equal(image.pixels, expected[number]), number


def test_a_picture_is_stored_as_png_of_its_pixels(encode_video):
    image = images(encode_video(pictures(), 'libx264', GROUP))[4]
    content, suffix = encoded_image(image)
    assert suffix == '.png'
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), 1), image.pixels)


def test_an_image_travels_to_another_process(encode_video, decode_video):
    packets = encode_video(pictures(), 'libx264', GROUP)
    image = images(packets)[17]
    before = image.pixels.copy()
    moved: VideoImage = pickle.loads(pickle.dumps(image))
    assert 'pixels' not in vars(moved)
    assert np.array_equal(moved.pixels, before)


@pytest.mark.parametrize('encoder', CODECS)
def test_pictures_before_the_first_key_frame_are_refused(encode_video, decode_video, encoder):
    packets = encode_video(pictures(), encoder, GROUP)
    found = images(packets[3:], CODECS[encoder])
    expected = decode_video(CODECS[encoder], packets)
    for number in range(3, GROUP):
        with pytest.raises(VideoError, match='no key frame of its video came before it') as error:
            decode_image(found[number])
        assert reason_of(error.value) == 'incomplete_video'
    assert np.array_equal(found[GROUP].pixels, expected[GROUP])


@pytest.mark.parametrize('encoder', CODECS)
def test_pictures_after_a_lost_packet_are_refused_until_a_key_frame(
    encode_video, decode_video, encoder
):
    packets = encode_video(pictures(), encoder, GROUP)
    expected = decode_video(CODECS[encoder], packets)
    found = images([p for p in packets if p[0] != 14], CODECS[encoder])
    for number, image in found.items():
        if 14 < number < 20:
            with pytest.raises(VideoError, match='of its video'):
                decode_image(image)
        else:
            assert np.array_equal(image.pixels, expected[number])


def test_a_lost_picture_that_no_other_refers_to_costs_no_other(encode_video, decode_video):
    packets = encode_video(pictures(), 'libx264', GROUP, 2)
    expected = decode_video('h264', packets)
    lost = next(n for n, data in packets if not parse_packet('h264', data).reference)
    found = images([p for p in packets if p[0] != lost])
    assert len(found) == COUNT - 1
    for number, image in found.items():
        assert np.array_equal(image.pixels, expected[number])


def test_pictures_that_refer_to_before_a_key_frame_need_what_is_before(encode_video, decode_video):
    """By default, H.265 has open groups: pictures after a key frame may refer to before it."""
    params = {'x265-params': 'log-level=none:keyint=12:bframes=2:scenecut=0', 'preset': 'medium'}
    packets = encode_video(pictures(), 'libx265', GROUP, 2, **params)
    keys = [k for k, (_, data) in enumerate(packets) if parse_packet('hevc', data).key]
    leading = [n for n, data in packets if parse_packet('hevc', data).leading]
    assert leading
    expected = decode_video('hevc', packets)
    found = images(packets[keys[1] :], 'hevc')
    with pytest.raises(VideoError, match='no key frame'):
        decode_image(found[leading[0]])
    after = packets[keys[1]][0]
    assert np.array_equal(found[after].pixels, expected[after])
    assert np.array_equal(found[after + 1].pixels, expected[after + 1])


def test_damaged_packet_costs_what_builds_on_it_at_most(encode_video, decode_video):
    packets = encode_video(pictures(), 'libx264', GROUP)
    expected = decode_video('h264', packets)
    packets[12] = (12, packets[12][1][:-20])
    found = images(packets)
    for number in (*range(12), *range(20, COUNT)):
        assert np.array_equal(found[number].pixels, expected[number])
    for number in (13, 12, 19):
        with pytest.raises(VideoError, match='missing or damaged'):
            decode_image(found[number])


def test_parameter_sets_may_be_sent_once(encode_video, decode_video):
    packets = encode_video(pictures(), 'libx264', GROUP)
    sets = parse_packet('h264', packets[10][1]).sets
    assert packets[10][1].startswith(sets)
    packets[10] = (10, packets[10][1][len(sets) :])
    found = images(packets)
    assert np.array_equal(found[11].pixels, decode_video('h264', packets)[11])


def test_a_group_without_end_is_refused(encode_video, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.video._LONGEST_GROUP', 15)
    found = images(encode_video(pictures(), 'libx264', 1000))
    assert found[14].pixels.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(VideoError, match='packets since the last key frame; have the encoder'):
        decode_image(found[15])


def test_what_cannot_be_read_is_said(encode_video, monkeypatch):
    packets = encode_video(pictures()[:1])
    with pytest.raises(
        ImageError, match=r'camera \(av1\): is video of an unsupported codec'
    ) as error:
        decode_image(images(packets, 'av1')[0])
    assert reason_of(error.value) == 'bad_image'
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(
        DependencyError, match=r"encoded video needs PyAV; pip install '.\[video\]'"
    ):
        decode_image(images(packets)[0])


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('start', [b'\0\0\1\0\0\1', b'\0\0\1\0\0\0\0\1'])
def test_empty_units_are_passed_over(codec, start):
    slices = {'h264': b'\x65\x88\x84', 'hevc': b'\x26\x01\xaf'}
    assert parse_packet(codec, start + slices[codec]).key


def test_codecs_have_many_names():
    names = (
        'h264',
        'libx264',
        'h264_nvenc;nv12;bgr8;bgr8',
        'H265',
        'hevc_vaapi',
        'libx265',
        'vp9',
    )
    assert [codec_of(name) for name in names] == ['h264'] * 3 + ['hevc'] * 3 + ['']


def test_an_empty_packet_costs_no_other(encode_video, decode_video):
    packets = encode_video(pictures())
    stream = VideoStream()
    images(packets[:3], stream=stream)
    with pytest.raises(VideoError):
        decode_image(images([(99, b'')], stream=stream)[99])
    found = images(packets[3:], stream=stream)
    assert np.array_equal(decode_image(found[5]), decode_video('h264', packets)[5])
