from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.clouds import cloud_from_message, unusable_fields
from drive_segment_ros.perception.point_times import point_times

DATATYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}
STAMP_NS = 1_700_000_000_123_456_789


def relative_time(values, stamp_ns):
    times = point_times(values, stamp_ns)
    return None if times is None else times.seconds


def message(
    points: np.ndarray, *, stamp_ns=STAMP_NS, rows=1, row_padding=0, big_endian=False, datatypes=()
):
    """Return an object with the attributes of a PointCloud2, laid out as a structured array."""
    types = DATATYPES | dict(datatypes)
    fields = [
        SimpleNamespace(
            name=name,
            offset=offset,
            datatype=types[dtype.base.str[1:]],
            count=dtype.shape[0] if dtype.shape else 1,
        )
        for name, (dtype, offset, *_) in (points.dtype.fields or {}).items()
    ]
    width = len(points) // rows
    step = points.dtype.itemsize
    padding = b'\xff' * row_padding
    data = b''.join(points[r * width : (r + 1) * width].tobytes() + padding for r in range(rows))
    return SimpleNamespace(
        header=SimpleNamespace(
            stamp=SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9),
            frame_id='lidar',
        ),
        height=rows,
        width=width,
        fields=fields,
        is_bigendian=big_endian,
        point_step=step,
        row_step=width * step + row_padding,
        data=bytearray(data),
        is_dense=False,
    )


def points(dtype, n=24) -> np.ndarray:
    """Return points in which every field has different values."""
    values = np.zeros(n, dtype)
    for k, name in enumerate(values.dtype.names):
        values[name].T[...] = 10 * k + np.arange(n) % 7
    return values


XYZ = [('x', '<f4'), ('y', '<f4'), ('z', '<f4')]


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(['x', 'y', 'z', 'intensity', 'ring', 'spare']),
    kind=st.sampled_from(['f4', 'f8']),
    big_endian=st.booleans(),
    gaps=st.lists(st.integers(0, 5), min_size=7, max_size=7),
    rows=st.sampled_from([1, 4]),
    row_padding=st.integers(0, 9),
)
def test_any_layout_gives_the_same_points(order, kind, big_endian, gaps, rows, row_padding):
    types = {'x': kind, 'y': kind, 'z': kind, 'intensity': 'u1', 'ring': 'u2', 'spare': 'i4'}
    formats = [('>' if big_endian else '<') + types[name] for name in order]
    offsets, offset = [], 0
    for name, gap in zip(order, gaps, strict=False):
        offsets.append(offset + gap)
        offset = offsets[-1] + np.dtype(types[name]).itemsize
    dtype = np.dtype(
        {
            'names': list(order),
            'formats': formats,
            'offsets': offsets,
            'itemsize': offset + gaps[-1],
        }
    )
    made = points(dtype)
    cloud = cloud_from_message(
        message(made, rows=rows, row_padding=row_padding, big_endian=big_endian)
    )
    assert len(cloud) == 24
    assert (cloud.height, cloud.width) == (rows, 24 // rows)
    assert cloud.stamp_ns == STAMP_NS
    for name in ('x', 'y', 'z', 'intensity', 'ring'):
        values = getattr(cloud, name)
        assert values.dtype.isnative
        np.testing.assert_array_equal(values, made[name])
    packed = cloud.packed()
    assert packed.x.dtype == np.float32
    assert packed.x.flags.c_contiguous
    np.testing.assert_array_equal(packed.z, made['z'])


def test_unaligned_points_of_22_bytes_are_read_in_place():
    dtype = np.dtype([*XYZ, ('intensity', '<f4'), ('ring', '<u2'), ('t', '<f4')])
    assert dtype.itemsize == 22
    sent = message(points(dtype))
    cloud = cloud_from_message(sent)
    data = np.frombuffer(sent.data, np.uint8)
    for name in ('x', 'y', 'z', 'intensity'):
        assert np.shares_memory(getattr(cloud, name), data), name


def test_fields_of_several_values_do_no_harm():
    made = points([*XYZ, ('normal', '<f4', (3,))])
    np.testing.assert_array_equal(cloud_from_message(message(made)).z, made['z'])


def test_points_without_return_are_kept_for_later_stages_to_count():
    made = points(XYZ)
    made['y'][3], made['x'][5] = np.nan, np.inf
    cloud = cloud_from_message(message(made))
    assert np.isnan(cloud.y[3])
    assert np.isinf(cloud.x[5])
    assert len(cloud) == 24


@pytest.mark.parametrize('rows', [0, 1])
def test_an_empty_cloud_has_no_points(rows):
    sent = message(np.zeros(0, XYZ))
    sent.height = rows
    cloud = cloud_from_message(sent)
    assert len(cloud) == 0
    assert cloud.ring is None


def wrong(change, dtype=XYZ):
    sent = message(points(dtype))
    change(sent)
    return sent


@pytest.mark.parametrize(
    ('sent', 'says'),
    [
        (wrong(lambda m: m.data.pop()), 'truncated'),
        (wrong(lambda m: m.data.clear()), 'truncated'),
        (wrong(lambda m: setattr(m, 'width', 10**6)), 'truncated'),
        (wrong(lambda m: setattr(m, 'width', 10**9)), 'above the limit max_points 2000000'),
        (wrong(lambda m: setattr(m, 'height', 0)), 'has 288 bytes'),
        (wrong(lambda m: m.fields.pop(0)), "'lidar' has no field x; it has y, z"),
        (wrong(lambda m: m.fields.clear()), 'no field x, y, z; it has none'),
        (wrong(lambda m: setattr(m.fields[0], 'datatype', 12)), "'x' has unknown datatype 12"),
        (wrong(lambda m: setattr(m.fields[0], 'datatype', 5)), "'x' is not a floating-point"),
        (wrong(lambda m: setattr(m.fields[0], 'count', 3)), "'x' has 3 values a point"),
        (
            wrong(lambda m: setattr(m.fields[2], 'offset', 200)),
            "'z' does not fit into point_step 12",
        ),
        (wrong(lambda m: setattr(m.fields[1], 'name', 'x')), 'has no field y'),
        (wrong(lambda m: setattr(m, 'point_step', 0)), 'point_step 0'),
        (wrong(lambda m: m.__dict__.update(point_step=2**31, width=0)), 'point_step 2147483648'),
        (wrong(lambda m: (m.fields.clear(), setattr(m, 'point_step', 0))), 'point_step 0'),
    ],
)
def test_a_broken_message_is_told_in_one_line(sent, says):
    with pytest.raises(CloudError) as caught:
        cloud_from_message(sent)
    assert says in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('absolute', [False, True], ids=['relative', 'absolute'])
@pytest.mark.parametrize(
    ('ticks_per_second', 'dtype'),
    [(1, 'f8'), (10**3, 'f8'), (10**6, 'f8'), (10**6, 'u8'), (10**9, 'i8'), (10**9, 'u8')],
)
def test_point_times_of_any_unit_and_origin(ticks_per_second, dtype, absolute):
    offsets_ns = np.linspace(0, 99_000_000, 100).round(-3).astype(np.int64)
    ticks = offsets_ns + (STAMP_NS if absolute else 0)
    values = (
        ticks * (ticks_per_second / 1e9) if dtype == 'f8' else ticks // (10**9 // ticks_per_second)
    ).astype(dtype)
    time = relative_time(values, STAMP_NS)
    # float64 seconds since 1970 resolve 240 ns; integer microseconds are truncated.
    np.testing.assert_allclose(time, offsets_ns * 1e-9, atol=1.1e-6)


@pytest.mark.parametrize('dtype', ['u4', 'f4'])
def test_relative_nanoseconds_of_32_bits(dtype):
    values = np.linspace(0, 99_000_000, 100).astype(dtype)
    np.testing.assert_allclose(relative_time(values, STAMP_NS), values * 1e-9, rtol=1e-6)


def test_times_before_the_stamp_are_negative():
    values = np.linspace(-0.1, 0.0, 50, dtype=np.float32)
    assert relative_time(values, STAMP_NS) is values


@pytest.mark.parametrize('stamp_s', [0.5, 3.0, 8.0, 30.0])
def test_absolute_times_of_a_clock_that_just_began(stamp_s):
    offsets = np.linspace(0.0, 0.1, 50)
    time = relative_time(stamp_s + offsets, round(stamp_s * 1e9))
    np.testing.assert_allclose(time, offsets, atol=1e-9)
    time = relative_time(offsets, round(stamp_s * 1e9))
    np.testing.assert_allclose(time, offsets, atol=1e-9)


@pytest.mark.parametrize(
    'values',
    [
        np.zeros(10),
        np.full(10, np.nan),
        np.empty(0),
        np.linspace(0.0, 1e-7, 10),
        np.linspace(0, 1e15, 10),
    ],
    ids=['equal', 'nan', 'none', 'too short', 'too long'],
)
def test_times_that_make_no_sense_are_ignored(values):
    assert relative_time(values, STAMP_NS) is None


def test_single_missing_times_leave_the_others():
    values = np.linspace(0.0, 0.1, 50)
    values[7] = np.nan
    time = relative_time(values * 1e3, STAMP_NS)
    assert np.isnan(time[7])
    np.testing.assert_allclose(np.delete(time, 7), np.delete(values, 7))


@pytest.mark.parametrize('dtype', ['<f8', '<u8'])
def test_zeros_beside_absolute_times_are_none(dtype):
    seconds = np.linspace(0.0, 0.1, 50)
    values = (STAMP_NS * 1e-9 + seconds) if dtype == '<f8' else STAMP_NS + seconds * 1e9
    values = np.asarray(values).astype(dtype)
    values[7] = 0
    time = relative_time(values, STAMP_NS)
    assert np.isnan(time[7])
    np.testing.assert_allclose(np.delete(time, 7), np.delete(seconds, 7), atol=1e-6)


def test_of_several_fields_the_first_that_makes_sense_is_taken():
    made = points(
        [*XYZ, ('time', '<f4'), ('timestamp', '<f8'), ('ring', '<u2'), ('channel', '<u1')]
    )
    made['time'] = STAMP_NS * 1e-9  # all equal in float32
    made['timestamp'] = STAMP_NS * 1e-9 + np.linspace(0.0, 0.1, 24)
    made['ring'] = 0
    made['channel'] = np.arange(24)
    cloud = cloud_from_message(message(made))
    np.testing.assert_allclose(cloud.time, np.linspace(0.0, 0.1, 24), atol=1e-6)
    assert cloud.ring.tolist() == list(range(24))


def test_padding_fields_of_one_name_do_no_harm():
    sent = message(points([*XYZ, ('pad1', '<u1'), ('pad2', '<u1'), ('pad3', '<u1')]))
    for field, name in zip(sent.fields[3:], ('_', '_', ''), strict=True):
        field.name = name
    assert len(cloud_from_message(sent)) == 24


def test_the_time_field_can_be_named_or_left_out():
    made = points([*XYZ, ('t', '<f4'), ('clock', '<f4')])
    made['t'] = np.linspace(0.0, 0.1, 24)
    made['clock'] = np.linspace(0.0, 0.2, 24)
    sent = message(made)
    np.testing.assert_array_equal(cloud_from_message(sent).time, made['t'])
    np.testing.assert_array_equal(cloud_from_message(sent, 'clock').time, made['clock'])
    assert cloud_from_message(sent, '').time is None
    with pytest.raises(CloudError, match="no time field 'stamp'"):
        cloud_from_message(sent, 'stamp')


@pytest.mark.parametrize(
    ('name', 'dtype', 'values', 'expected'),
    [
        ('ring', '<f4', [0, 3, 7], [0, 3, 7]),
        ('channel', '<u1', [0, 3, 7], [0, 3, 7]),
        ('ring', '<f4', [0, np.nan, 7], [0, -1, 7]),
        ('ring', '<f4', [0, -np.inf, 7], [0, -1, 7]),
        ('ring', '<u2', [0, 0, 0], None),
        ('ring', '<u4', [0, 1, 2**32 - 1], None),
        ('ring', '<f4', [0, 1, 1e30], None),
        ('colour', '<u2', [0, 3, 7], None),
    ],
)
def test_ring_is_taken_where_it_can_number_beams(name, dtype, values, expected):
    made = np.zeros(3, [*XYZ, (name, dtype)])
    made[name] = values
    ring = cloud_from_message(message(made)).ring
    if expected is None:
        assert ring is None
    else:
        assert ring.tolist() == expected


SWEEP = np.linspace(0.0, 0.1, 1000)


@pytest.mark.parametrize('absolute', [False, True], ids=['relative', 'absolute'])
@pytest.mark.parametrize('wild', [np.nan, np.inf, -1.0, 0.9, 50.0, 1e9, 1e18])
@pytest.mark.parametrize('count', [1, 3, 100])
def test_wild_times_are_none_and_cost_no_other_point_its_time(absolute, wild, count):
    values = SWEEP + (STAMP_NS * 1e-9 if absolute else 0.0)
    lost = np.arange(0, 1000, 1000 // count)
    values[lost] = wild + (values[0] if abs(wild) < 100 else 0.0)
    times = point_times(values, STAMP_NS)
    assert np.isnan(times.seconds[lost]).all()
    assert times.missing == len(lost)
    np.testing.assert_allclose(np.delete(times.seconds, lost), np.delete(SWEEP, lost), atol=1e-6)


def test_wild_times_of_unsigned_integers():
    values = (STAMP_NS + (SWEEP * 1e9).astype(np.int64)).astype(np.uint64)
    lost = [3, 500, 999]
    values[lost] = 0, 2**64 - 1, 2**63
    times = point_times(values, STAMP_NS)
    assert np.isnan(times.seconds[lost]).all()
    np.testing.assert_allclose(
        np.delete(times.seconds, lost), np.delete(SWEEP, lost), rtol=0, atol=1e-8
    )


def test_a_sweep_that_sees_nearly_nothing_to_one_side_keeps_all_its_times():
    values = np.sort(np.r_[np.linspace(0.0, 0.04, 980), np.linspace(0.04, 0.1, 20)])
    assert point_times(values, STAMP_NS).missing == 0


@pytest.mark.parametrize('rows', [1, 64, 500])
def test_an_organised_cloud_tells_its_unit_by_rows_and_by_columns(rows):
    values = np.tile(np.linspace(0.0, 1e5, 2000), (rows, 1))
    for order in (values, values.T):
        times = point_times(np.ascontiguousarray(order).reshape(-1), STAMP_NS)
        assert times.seconds.max() == pytest.approx(0.1)


@pytest.mark.parametrize('dtype', ['<f8', '<u8'])
@pytest.mark.parametrize('ahead_s', [-1.6e9, -3600.0, 5.0, 86400.0 * 200])
def test_of_another_clock_the_first_or_last_point_is_at_the_stamp(ahead_s, dtype):
    values = STAMP_NS * 1e-9 + ahead_s + SWEEP
    if dtype == '<u8':
        values = (values * 1e9).astype(np.uint64)
    times = point_times(values, STAMP_NS)
    np.testing.assert_allclose(times.seconds, SWEEP, atol=1e-6)
    assert times.clock_s == pytest.approx(ahead_s, abs=1e-6)
    times = point_times(values, STAMP_NS, 'last')
    np.testing.assert_allclose(times.seconds, SWEEP - 0.1, atol=1e-6)


@pytest.mark.parametrize('ahead_s', [18, 37])
@pytest.mark.parametrize('start_s', [-0.1, 0.0])
def test_the_difference_of_gps_and_atomic_time_is_taken_out(ahead_s, start_s):
    for values in (
        STAMP_NS * 1e-9 + ahead_s + start_s + SWEEP,
        STAMP_NS + ahead_s * 10**9 + ((start_s + SWEEP) * 1e9).astype(np.int64),
    ):
        times = point_times(values, STAMP_NS)
        assert times.clock_s == ahead_s
        np.testing.assert_allclose(times.seconds, start_s + SWEEP, atol=1e-6)


@pytest.mark.parametrize(
    ('name', 'taken'),
    [
        ('t', True),
        ('time_offset_ns', True),
        ('t_ns', True),
        ('timeOffset', True),
        ('timestamp_us', True),
        ('pointTimestamp', True),
        ('relative_time', True),
        ('ts', True),
        ('tag', False),
        ('time_of_flight', False),
        ('return_type', False),
        ('velocity', False),
    ],
)
def test_times_are_found_by_the_words_of_their_name(name, taken):
    made = points([*XYZ, (name, '<i4')], 1000)
    made[name] = SWEEP * 1e9
    cloud = cloud_from_message(message(made))
    assert cloud.time_field == (name if taken else '')
    if taken:
        np.testing.assert_allclose(cloud.time, SWEEP, atol=1e-8)


@pytest.mark.parametrize('names', [('sec', 'nsec'), ('time_s', 'time_ns'), ('t_sec', 't_nanosec')])
def test_seconds_and_nanoseconds_in_two_fields_are_one_time(names):
    made = points([*XYZ, (names[0], '<u4'), (names[1], '<u4')], 1000)
    stamp_ns = 1_700_000_000_950_000_000  # a full second passes within the sweep
    ticks = stamp_ns + (SWEEP * 1e9).astype(np.int64)
    made[names[0]], made[names[1]] = np.divmod(ticks, 10**9)
    cloud = cloud_from_message(message(made, stamp_ns=stamp_ns))
    np.testing.assert_allclose(cloud.time, SWEEP, atol=1e-8)
    assert cloud.time_field == ' + '.join(names)


@pytest.mark.parametrize('datatype', [0, 12, 255])
def test_a_field_of_unknown_type_that_nobody_needs_is_left_out(datatype):
    sent = message(points([*XYZ, ('ring', '<u2'), ('spare', '<u4')]))
    sent.fields[4].datatype = datatype
    cloud = cloud_from_message(sent)
    assert cloud.ring.tolist() == points([*XYZ, ('ring', '<u2')])['ring'].tolist()
    assert unusable_fields(sent) == {'spare': f'has unknown datatype {datatype}'}
    with pytest.raises(CloudError, match=f"'spare' has unknown datatype {datatype}"):
        cloud_from_message(sent, 'spare')


def test_a_field_outside_its_point_is_left_out():
    sent = message(points([*XYZ, ('t', '<f4')]))
    sent.fields[3].offset = 14
    assert cloud_from_message(sent).time is None
    assert unusable_fields(sent) == {'t': 'does not fit into point_step 16'}


@pytest.mark.parametrize(('datatype', 'form'), [(9, '<i8'), (10, '<u8'), (11, '<u1')])
def test_types_of_later_definitions_are_read(datatype, form):
    values = np.linspace(0, 1, 24) if form == '<u1' else np.linspace(0, 1e8, 24)
    made = points([*XYZ, ('t', form), ('spare', form)])
    made['t'] = values
    sent = message(made, datatypes={'i8': 9, 'u8': 10, 'u1': datatype if form == '<u1' else 2})
    cloud = cloud_from_message(sent)
    assert unusable_fields(sent) == {}
    if form != '<u1':
        np.testing.assert_allclose(cloud.time, np.linspace(0, 0.1, 24), atol=1e-8)


def test_the_limit_of_points_is_checked_before_anything_is_read():
    sent = message(points(XYZ))
    sent.data = None
    with pytest.raises(CloudError, match='1 x 24 points, above the limit max_points 23'):
        cloud_from_message(sent, max_points=23)
