"""Files of a frame: their content, and equal bytes for equal arrays."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord, encode_npz, encode_png
from drive_segment_ros.errors import DatasetError


def make_frame(**changes) -> Frame:
    segment = np.zeros((6, 8), np.uint16)
    segment[2:4] = 40_000
    proposals = {
        'id': np.array([40_000], np.uint16),
        'kind': np.array([1], np.uint8),
        'points': np.array([321], np.int32),
        'height': np.array([1.5], np.float32),
    }
    values = {
        'camera': 'front',
        'stamp_ns': 17,
        'image': b'as received',
        'image_suffix': '.jpg',
        'segment': segment,
        'sweep': SweepRecord(16, proposals),
        'record': {'offset_s': 0.05},
    }
    return Frame(**{**values, **changes})


def test_files_and_record_name_each_other():
    encoded = make_frame().encoded()
    assert encoded.files['front/image/17.jpg'] == b'as received'
    assert encoded.record == {
        'stamp_ns': 17,
        'sweep_stamp_ns': 16,
        'offset_s': 0.05,
        'image': 'image/17.jpg',
        'segment': 'segment/17.png',
    }
    names = {'front/image/17.jpg', 'front/segment/17.png', 'proposal/16.npz'}
    assert set(encoded.files) == names


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_segment_png_is_lossless(segment):
    decoded = cv2.imdecode(np.frombuffer(encode_png(segment), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, segment)


@given(st.permutations(['id', 'kind', 'points', 'extent']))
def test_npz_bytes_depend_on_content_alone(order):
    arrays = {
        'id': np.arange(3, dtype=np.uint16),
        'kind': np.zeros(3, np.uint8),
        'points': np.arange(6, dtype=np.int32)[::2],
        'extent': np.ones((3, 3), np.float32),
    }
    data = encode_npz({name: arrays[name] for name in order})
    assert data == encode_npz(arrays)
    loaded = np.load(io.BytesIO(data))
    for name, values in arrays.items():
        np.testing.assert_array_equal(loaded[name], values)
        assert loaded[name].dtype == values.dtype


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'segment': np.zeros((6, 8), np.int32)}, 'segment image is int32'),
        ({'sweep': SweepRecord(1, {'id': np.zeros(1)})}, 'proposals need id, kind, points'),
        (
            {'sweep': SweepRecord(1, {n: np.zeros(i) for i, n in enumerate(REQUIRED)})},
            'arrays of one length',
        ),
        (
            {'sweep': SweepRecord(1, {n: np.full(1, 65_536) for n in REQUIRED})},
            'id 65536, but a segment image holds ids up to 65535',
        ),
    ],
)
def test_wrong_arrays_are_refused(changes, message):
    with pytest.raises(DatasetError, match=message):
        make_frame(**changes).encoded()
