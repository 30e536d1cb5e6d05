"""Image messages: decoding and encoding of all formats, and errors for broken messages."""

from __future__ import annotations

import io
import sys
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

# A different colour in each quadrant reveals swapped channels, flips and shifts.
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
    # Means of blocks of `reduce` x `reduce` pixels, the last ones padded with edge pixels.
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
        (raw(BGR, '32SC1'), "encoding '32SC1'"),
        (raw(BGR[:, :7, :2], 'yuyv'), 'even width'),
        (compressed(JPEG[: len(JPEG) // 2]), 'truncated'),
        (compressed(PNG[: len(PNG) // 2], 'png'), 'truncated'),
        (compressed(JPEG[:20] + JPEG[-2:]), 'truncated or broken'),
        (compressed(b'', 'jpeg'), 'is empty'),
        (raw(BGR, 'bgr8', width=10**5, height=10**5), '100000 x 100000 px, above the limit'),
        (raw(BGR[..., :2], '8UC2'), "encoding '8UC2'"),
        (raw(BGR[:5, :, 0], 'nv12'), 'even height, not 5'),
        (raw(BGR[..., 0], 'nv12'), 'truncated: 48 of 72 bytes'),
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


# By number of channels: all encodings that cv_bridge converts to BGR as well.
CV_BRIDGE_ENCODINGS = {
    1: ('mono8', 'mono16', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8',
        'bayer_rggb16', 'bayer_bggr16', 'bayer_gbrg16', 'bayer_grbg16'),
    2: ('yuv422', 'yuv422_yuy2'),
    3: ('bgr8', 'rgb8', 'bgr16', 'rgb16'),
    4: ('bgra8', 'rgba8', 'bgra16', 'rgba16'),
}  # fmt: skip


@pytest.mark.parametrize(
    ('channels', 'encoding'), [(n, e) for n, all_of in CV_BRIDGE_ENCODINGS.items() for e in all_of]
)
def test_cv_bridge_makes_the_same_picture(channels, encoding):
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is part of a ROS installation')
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    if encoding.endswith('16'):
        pixels = pixels.astype('<u2') * 257
    message = raw(pixels, encoding)
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'bgr8')
    # cv_bridge demosaics in 16 bits before it converts to 8 bits.
    allowed = 1 if encoding.startswith('bayer') and encoding.endswith('16') else 0
    assert np.abs(decode_image(message).astype(int) - theirs).max() <= allowed


def test_what_we_do_not_know_is_left_to_cv_bridge(monkeypatch):
    class Bridge:
        def imgmsg_to_cv2(self, message, encoding):
            if message.encoding == 'new':
                assert encoding == 'bgr8'
                return BGR
            raise TypeError(f'[{message.encoding}] is not a color format.\nNo.')

    monkeypatch.setitem(sys.modules, 'cv_bridge', types.SimpleNamespace(CvBridge=Bridge))
    np.testing.assert_array_equal(decode_image(raw(BGR, 'new')), BGR)
    with pytest.raises(ImageError, match=r'which cv_bridge cannot convert to BGR: .*\. No\.$'):
        decode_image(raw(BGR, 'old'))
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(ImageError, match=r"encoding 'new'; without cv_bridge only bgr8, .* read$"):
        decode_image(raw(BGR, 'new'))


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


@pytest.mark.parametrize('kind', ['nv12', 'nv21'])
@pytest.mark.parametrize('padding', [0, 10])
def test_semi_planar_yuv(kind, padding):
    # A strong red in BT.601 video range: y 81, u 90, v 240.
    chroma = {'nv12': (90, 240), 'nv21': (240, 90)}[kind]
    data = np.full((6, 8 + padding), 7, np.uint8)
    data[:4, :8] = 81
    data[4:, :8:2], data[4:, 1:8:2] = chroma
    message = raw(data[:4, :8], kind, step=8 + padding, data=data.tobytes())
    image = decode_image(message)
    assert image.shape == (4, 8, 3)
    assert np.abs(image.astype(int) - (0, 0, 255)).max() <= 3


def test_encodings_are_known_in_any_writing():
    np.testing.assert_array_equal(decode_image(raw(BGR, 'BGR8')), BGR)


def mosaic(pattern: str, picture: np.ndarray) -> np.ndarray:
    result = np.empty(picture.shape[:2], picture.dtype)
    for index, letter in enumerate(pattern):
        row, column = index // 2, index % 2
        result[row::2, column::2] = picture[row::2, column::2, 'bgr'.index(letter)]
    return result


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize(('suffix', 'codec'), [('.png', 'png'), ('.jpg', 'jpeg')])
@pytest.mark.parametrize('spread', [False, True])
def test_a_compressed_mosaic_is_a_picture_in_colour(pattern, suffix, codec, spread):
    picture = np.full((32, 48, 3), (200, 120, 40), np.uint8)
    pixels = mosaic(pattern, picture)
    if spread:
        pixels = np.dstack([pixels] * 3)
    data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    message = compressed(data, f'bayer_{pattern}8; {codec} compressed ')
    for reduce in (1, 2):
        image = decode_image(message, reduce)
        assert image.shape == (32 // reduce, 48 // reduce, 3)
        assert np.abs(image.astype(int) - (200, 120, 40)).max() <= 4
    stored, stored_suffix = encoded_image(message)
    assert stored_suffix == '.png'
    read = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read, decode_image(message))


def test_a_mosaic_that_was_made_a_picture_before_compression_stays():
    data = cv2.imencode('.jpg', smooth_picture())[1].tobytes()
    message = compressed(data, 'bayer_rggb8; jpeg compressed bgr8')
    assert np.abs(decode_image(message).astype(int) - smooth_picture()).mean() < 3


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_a_file_whose_channels_are_rgb_is_turned_and_stored_right(suffix):
    data = cv2.imencode(suffix, smooth_picture()[..., ::-1])[1].tobytes()
    message = compressed(data, f'rgb8; {suffix[1:]} compressed rgb8')
    assert np.abs(decode_image(message).astype(int) - smooth_picture()).mean() < 3
    stored, stored_suffix = encoded_image(message)
    assert stored_suffix == '.png'
    read = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read, decode_image(message))


@pytest.mark.parametrize('suffix', ['.webp', '.tiff', '.bmp'])
def test_other_kinds_of_file_are_stored_as_png_of_the_same_pixels(suffix):
    data = cv2.imencode(suffix, smooth_picture())[1].tobytes()
    message = compressed(data, suffix[1:])
    stored, stored_suffix = encoded_image(message)
    assert stored_suffix == '.png'
    read = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read, decode_image(message))
    assert np.abs(read.astype(int) - smooth_picture()).mean() < 3
    assert decode_image(message, 2).shape == (32, 48, 3)


@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize(
    'encoding', ['mono16', 'rgb16', 'bayer_rggb16', 'mono16; png compressed ']
)
def test_fewer_bits_in_16_are_refused_until_they_are_said(bits, encoding):
    picture = smooth_picture()
    pixels = {'m': picture[..., 0], 'r': picture[..., ::-1], 'b': mosaic('rggb', picture)}
    deep = np.ascontiguousarray(pixels[encoding[0]].astype('<u2') << (bits - 8))
    deep[0, 0] = (1 << bits) - 1
    if 'png' in encoding:
        message = compressed(cv2.imencode('.png', deep)[1].tobytes(), encoding)
    else:
        message = raw(deep, encoding)
    for function in (decode_image, encoded_image):
        with pytest.raises(
            ImageError, match=f'as from a {bits}-bit sensor; --set image_bits={bits}'
        ):
            function(message)
    shallow = raw(np.ascontiguousarray(pixels[encoding[0]]), f'{encoding[:-2]}8')
    expected = picture[..., [0, 0, 0]] if encoding[0] == 'm' else decode_image(shallow)
    image = decode_image(message, bits=bits)
    np.testing.assert_array_equal(image[2:, 2:], expected[2:, 2:])
    stored = encoded_image(message, bits=bits)[0]
    read = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read, image)
    with pytest.raises(ImageError, match='above the 9 bits'):
        decode_image(message, bits=9)


def test_a_dark_image_of_a_sensor_of_16_bits_is_read_where_that_is_said():
    dark = np.full((6, 8), 0x0300, '<u2')
    assert (decode_image(raw(dark, 'mono16'), bits=16) == 3).all()


@pytest.mark.parametrize('encoding', ['mono12', 'bayer_rggb12'])
def test_an_encoding_may_say_its_bits(encoding):
    assert (decode_image(raw(np.full((6, 8), 0x0ABC, '<u2'), encoding)) == 0xAB).all()
    with pytest.raises(ImageError, match='above the 12 bits'):
        decode_image(raw(np.full((6, 8), 0x1ABC, '<u2'), encoding))


def test_a_png_of_16_bits_is_stored_as_received():
    data = cv2.imencode('.png', smooth_picture().astype(np.uint16) * 257)[1].tobytes()
    message = compressed(data, 'rgb16; png compressed bgr16')
    np.testing.assert_array_equal(decode_image(message), smooth_picture())
    assert encoded_image(message) == (data, '.png')


def test_a_depth_image_is_no_picture():
    data = cv2.imencode('.png', np.full((6, 8), 40_000, np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match="'16uc1', not that of a picture"):
        decode_image(compressed(data, '16UC1; png compressed '))


def test_jpegs_of_one_and_of_four_channels():
    grey = cv2.imencode('.jpg', smooth_picture()[..., 0])[1].tobytes()
    message = compressed(grey, 'mono8; jpeg compressed ')
    image = decode_image(message)
    assert np.abs(image.astype(int) - smooth_picture()[..., [0, 0, 0]]).mean() < 3
    assert encoded_image(message) == (grey, '.jpg')
    pillow = pytest.importorskip('PIL.Image')
    buffer = io.BytesIO()
    pillow.fromarray(smooth_picture()[..., ::-1].copy()).convert('CMYK').save(buffer, 'JPEG')
    image = decode_image(compressed(buffer.getvalue()))
    assert np.abs(image.astype(int) - smooth_picture()).mean() < 4


def test_padding_of_any_length_behind_a_jpeg_does_no_harm():
    for padding in (1, len(JPEG), 10 * len(JPEG)):
        assert decode_image(compressed(JPEG + bytes(padding))).shape == (64, 96, 3)
    with pytest.raises(ImageError, match='truncated'):
        decode_image(compressed(JPEG[:-2] + bytes(3 * len(JPEG))))


def test_the_limit_of_pixels_holds_for_files_and_for_raw_images():
    for message in (compressed(JPEG), raw(smooth_picture(), 'bgr8')):
        for function in (decode_image, encoded_image):
            with pytest.raises(ImageError, match='96 x 64 px, above the limit max_pixels 6143'):
                function(message, max_pixels=6143)
            function(message, max_pixels=6144)
