from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drive_segment_ros.ros.image_size import image_size, reduction


def compressed(suffix: str, height: int, width: int, cut: int | None = None, options=()):
    data = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8), list(options))[1]
    return SimpleNamespace(format=suffix[1:], data=data.tobytes()[:cut])


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('size', [(1080, 1920), (1, 1), (33, 257)])
def test_the_head_of_a_file_tells_its_size(suffix, size):
    assert image_size(compressed(suffix, *size)) == size
    assert image_size(compressed(suffix, *size, cut=400)) == size


def test_other_kinds_of_jpeg_tell_their_size():
    for option in (cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_OPTIMIZE):
        assert image_size(compressed('.jpg', 40, 30, options=(option, 1))) == (40, 30)
    plain = compressed('.jpg', 40, 30)
    exif = b'\xff\xe1' + (2 + 300).to_bytes(2, 'big') + b'\xff\xc0' * 150
    plain.data = plain.data[:2] + exif + b'\xff' + plain.data[2:]
    assert image_size(plain) == (40, 30)


def test_a_raw_image_tells_its_size():
    assert image_size(SimpleNamespace(height=3, width=4)) == (3, 4)


@pytest.mark.parametrize('data', [b'', b'\xff', b'\xff\xd8\xff', b'\x89PNG', b'GIF89a' * 9])
def test_what_does_not_tell_is_not_known(data):
    assert image_size(SimpleNamespace(format='jpeg', data=data)) is None


@pytest.mark.parametrize(
    ('size', 'needed', 'expected'),
    [
        ((1080, 1920), (288, 512), 2),
        ((1080, 1920), (135, 240), 8),
        ((2160, 3840), (288, 512), 4),
        ((575, 1023), (288, 512), 2),
        ((574, 1023), (288, 512), 1),
        ((100, 100), (288, 512), 1),
        (None, (1, 1), 1),
    ],
)
def test_no_needed_pixel_is_lost(size, needed, expected):
    assert reduction(size, needed) == expected
