"""Images through messages and back: every encoding, every way to be broken."""

from __future__ import annotations

import types

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import ImageError
from drive_segment_ros.ros.images import (
    compressed_message,
    decode_image,
    encoded_image,
    image_message,
)

# Odd sides and a plain colour in each corner: shows swapped channels, flips and shifts.
BGR = np.zeros((6, 8, 3), np.uint8)
BGR[:3, :4] = (250, 10, 20)
BGR[:3, 4:] = (15, 240, 30)
BGR[3:, :4] = (5, 25, 230)
BGR[3:, 4:] = (120, 130, 140)


def header(sec: int = 1, frame_id: str = 'camera') -> types.SimpleNamespace:
    return types.SimpleNamespace(
        stamp=types.SimpleNamespace(sec=sec, nanosec=5), frame_id=frame_id
    )


def raw(pixels: np.ndarray, encoding: str, **changes) -> types.SimpleNamespace:
    message = types.SimpleNamespace(
        header=header(),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=pixels.tobytes(),
    )
    message.__dict__.update(changes)
    return message


def compressed(data: bytes, kind: str = 'jpeg') -> types.SimpleNamespace:
    return types.SimpleNamespace(header=header(), format=kind, data=np.frombuffer(data, np.uint8))


def smooth_picture(height: int = 64, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x, 3 * y, 255 - x - y], axis=-1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('bgr8', BGR, BGR),
        ('8UC3', BGR, BGR),
        ('rgb8', BGR[..., ::-1], BGR),
        ('bgra8', np.dstack([BGR, BGR[..., 0]]), BGR),
        ('rgba8', np.dstack([BGR[..., ::-1], BGR[..., 0]]), BGR),
        ('mono8', BGR[..., 1], BGR[..., [1, 1, 1]]),
        ('8UC1', BGR[..., 1], BGR[..., [1, 1, 1]]),
        ('mono16', BGR[..., 1].astype('<u2') * 256 + 77, BGR[..., [1, 1, 1]]),
        ('rgb16', BGR[..., ::-1].astype('<u2') * 256 + 77, BGR),
    ],
)
def test_plain_encodings_are_exact(encoding, pixels, expected):
    image = decode_image(raw(np.ascontiguousarray(pixels), encoding))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_mono16_big_endian():
    pixels = (BGR[..., 1] * np.uint16(256) + 77).astype('>u2')
    image = decode_image(raw(pixels, 'mono16', is_bigendian=1))
    np.testing.assert_array_equal(image[..., 0], BGR[..., 1])


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_give_the_colours_they_sampled(pattern, bits):
    colour = {'b': 200, 'g': 120, 'r': 40}
    mosaic = np.empty((8, 10), np.uint8)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = colour[letter]
    pixels = mosaic if bits == 8 else mosaic.astype('<u2') * 256
    image = decode_image(raw(pixels, f'bayer_{pattern}{bits}'))
    assert (image == (200, 120, 40)).all()


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuyv', 'yuyv'), ('yuv422_yuy2', 'yuyv')],
)
def test_yuv_orders(encoding, order):
    # A strong red in BT.601 video range: y 81, u 90, v 240.
    value = {'y': 81, 'u': 90, 'v': 240}
    pixels = np.tile(np.array([value[c] for c in order], np.uint8), (4, 3)).reshape(4, 6, 2)
    image = decode_image(raw(pixels, encoding))
    assert np.abs(image.astype(int) - (0, 0, 255)).max() <= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7), st.booleans())
def test_padded_rows(height, width, padding, last_row_padded):
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    padded = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=255)
    data = padded.tobytes()
    if not last_row_padded:
        data = data[: len(data) - padding]
    message = raw(pixels, 'bgr8', step=width * 3 + padding, data=data)
    np.testing.assert_array_equal(decode_image(message), pixels)


def test_bgr8_is_not_copied():
    data = np.frombuffer(BGR.tobytes(), np.uint8)
    assert np.shares_memory(decode_image(raw(BGR, 'bgr8', data=data)), data)


@pytest.mark.parametrize('kind', ['jpeg', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed '])
def test_jpeg_of_any_format_string(kind):
    picture = smooth_picture()
    data = cv2.imencode('.jpg', picture)[1].tobytes()
    image = decode_image(compressed(data, kind))
    assert np.abs(image.astype(int) - picture).mean() < 3
    assert encoded_image(compressed(data, kind)) == (data, '.jpg')


def test_png_is_exact_and_passed_on_as_received():
    data = cv2.imencode('.png', BGR)[1].tobytes()
    np.testing.assert_array_equal(decode_image(compressed(data, 'png')), BGR)
    assert encoded_image(compressed(data, 'png')) == (data, '.png')


def test_raw_becomes_a_png_of_the_same_pixels():
    data, suffix = encoded_image(raw(np.ascontiguousarray(BGR[..., ::-1]), 'rgb8'))
    assert suffix == '.png'
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture, BGR)


@pytest.mark.parametrize('reduce', [2, 4, 8])
def test_reduced_sizes_and_content_agree_between_jpeg_png_and_raw(reduce):
    picture = smooth_picture(61, 93)
    # Blocks of exactly `reduce` pixels, the last ones filled up with the edge.
    whole = np.pad(picture, ((0, -61 % reduce), (0, -93 % reduce), (0, 0)), 'edge')
    blocks = whole.reshape(len(whole) // reduce, reduce, -1, reduce, 3)
    expected = blocks.mean(axis=(1, 3))
    for message in (
        compressed(cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()),
        compressed(cv2.imencode('.png', picture)[1].tobytes(), 'png'),
        raw(picture, 'bgr8'),
    ):
        image = decode_image(message, reduce)
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 3


def test_rotation_noted_in_the_jpeg_is_ignored():
    data = cv2.imencode('.jpg', smooth_picture())[1].tobytes()
    # APP1 with one EXIF entry: orientation 6, a quarter turn.
    tiff = b'MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06' + bytes(6)
    exif = b'Exif\x00\x00' + tiff
    data = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    assert decode_image(compressed(data)).shape == (64, 96, 3)


def test_jpeg_with_padding_behind_its_end_is_read():
    data = cv2.imencode('.jpg', smooth_picture())[1].tobytes()
    assert decode_image(compressed(data + bytes(100))).shape == (64, 96, 3)


JPEG = cv2.imencode('.jpg', smooth_picture())[1].tobytes()
PNG = cv2.imencode('.png', smooth_picture())[1].tobytes()


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (raw(BGR, 'bgr8', width=0), 'is empty: 0 x 6'),
        (raw(BGR, 'bgr8', height=0), 'is empty: 8 x 0'),
        (raw(BGR, 'bgr8', data=BGR.tobytes()[:-1]), 'truncated: 143 of 144 bytes'),
        (raw(BGR, 'bgr8', step=23), 'need 24 bytes, step is 23'),
        (raw(BGR, 'bgr8', step=0), 'step is 0'),
        (raw(BGR, '32SC1'), "encoding '32SC1'; without cv_bridge"),
        (raw(BGR[:, :7, :2], 'yuyv'), 'even width'),
        (compressed(JPEG[: len(JPEG) // 2]), 'truncated'),
        (compressed(PNG[: len(PNG) // 2], 'png'), 'truncated'),
        (compressed(JPEG[:20] + JPEG[-2:]), 'broken .jpg'),
        (compressed(b'', 'jpeg'), 'neither JPEG nor PNG'),
        (compressed(b'\x00' * 40, 'h264'), "format 'h264'"),
    ],
)
def test_broken_images_are_named_in_one_line(message, words):
    with pytest.raises(ImageError) as caught:
        decode_image(message)
    text = str(caught.value)
    assert words in text
    assert text.startswith('image 1.000000005 of camera')
    assert '\n' not in text


def test_reduce_by_three_is_refused():
    with pytest.raises(ImageError, match='1, 2, 4 or 8'):
        decode_image(raw(BGR, 'bgr8'), 3)


@pytest.mark.parametrize(
    ('pixels', 'encoding'),
    [
        (BGR, 'bgr8'),
        (BGR[::2, 1::2, 0], 'mono8'),
        ((BGR[..., 1] * np.uint16(257)).astype('>u2'), 'mono16'),
    ],
)
def test_image_message_round_trip(pixels, encoding):
    from std_msgs.msg import Header

    message = image_message(pixels, encoding, Header(frame_id='camera'))
    assert message.header.frame_id == 'camera'
    assert (message.height, message.width) == pixels.shape[:2]
    assert message.data.tobytes() == pixels.tobytes()
    channels = pixels if pixels.ndim == 3 else (pixels >> 8 if '16' in encoding else pixels)
    image = decode_image(message)
    np.testing.assert_array_equal(image if pixels.ndim == 3 else image[..., 0], channels)


def test_compressed_message_round_trip():
    from std_msgs.msg import Header

    message = compressed_message(smooth_picture(), Header(frame_id='camera'), quality=95)
    assert message.format == 'bgr8; jpeg compressed bgr8'
    assert np.abs(decode_image(message).astype(int) - smooth_picture()).mean() < 3
