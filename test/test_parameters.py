from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import check, describe, from_flat, parameter, to_flat


@dataclasses.dataclass(frozen=True)
class Inner:
    angle: float = parameter(30.0, 'an angle', unit='deg', minimum=0.0, maximum=90.0)
    free: float = parameter(1.0, 'any number')


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int = parameter(3, 'a count', minimum=1, maximum=10, dynamic=True)
    on: bool = parameter(True, 'a switch')
    mode: str = parameter('auto', 'a choice', choices=('auto', 'manual'))
    topics: list[str] = parameter(['a', 'b'], 'names')  # noqa: RUF009
    inner: Inner = dataclasses.field(default_factory=Inner)


INFO = {info.name: info for info in describe(Outer)}


def test_every_parameter_is_described_in_order_with_dotted_names():
    assert list(INFO) == ['count', 'on', 'mode', 'topics', 'inner.angle', 'inner.free']
    angle = INFO['inner.angle']
    assert (angle.type, angle.default, angle.unit, angle.help) == (float, 30.0, 'deg', 'an angle')
    assert (angle.minimum, angle.maximum, angle.dynamic) == (0.0, 90.0, False)
    assert INFO['count'].dynamic
    assert INFO['mode'].choices == ('auto', 'manual')
    assert INFO['topics'].type is list


def test_nothing_given_means_the_defaults():
    assert from_flat(Outer, {}) == Outer()


def test_list_defaults_are_not_shared():
    Outer().topics.append('c')
    assert Outer().topics == ['a', 'b']
    INFO['topics'].default.append('c')
    assert next(i for i in describe(Outer) if i.name == 'topics').default == ['a', 'b']


@given(
    count=st.integers(1, 10),
    on=st.booleans(),
    mode=st.sampled_from(['auto', 'manual']),
    angle=st.floats(0.0, 90.0),
)
def test_flat_names_and_back(count, on, mode, angle):
    made = from_flat(Outer, {'count': count, 'on': on, 'mode': mode, 'inner.angle': angle})
    assert made == Outer(count=count, on=on, mode=mode, inner=Inner(angle=angle))
    flat = to_flat(made)
    assert list(flat) == list(INFO)
    assert from_flat(Outer, flat) == made


def test_an_int_is_taken_where_a_float_is_wanted():
    made = from_flat(Outer, {'inner.angle': 45})
    assert made.inner.angle == 45.0
    assert type(made.inner.angle) is float


@pytest.mark.parametrize(
    ('name', 'value', 'says'),
    [
        ('count', True, 'count takes int, got True'),
        ('count', 2.0, 'count takes int'),
        ('count', '2', 'count takes int'),
        ('count', np.int64(2), 'count takes int'),
        ('count', None, 'count takes int'),
        ('count', 0, 'count is 0, minimum 1'),
        ('count', 11, 'count is 11, maximum 10'),
        ('on', 1, 'on takes bool'),
        ('on', 'true', 'on takes bool'),
        ('mode', 'other', 'mode is one of auto, manual'),
        ('mode', ['auto'], 'mode takes str'),
        ('topics', 'a', 'topics takes list'),
        ('topics', ['a', 1], 'topics takes list of str'),
        ('topics', ('a', 'b'), 'topics takes list of str'),
        ('inner.angle', True, 'inner.angle takes float'),
        ('inner.angle', -0.1, 'inner.angle is -0.1, minimum 0.0'),
        ('inner.angle', float('nan'), 'inner.angle'),
        ('inner.angle', float('inf'), 'inner.angle is inf, takes finite'),
        ('inner.free', float('nan'), 'inner.free'),
        ('inner.free', float('-inf'), 'inner.free'),
        ('inner.free', 10**400, 'inner.free'),
    ],
)
def test_wrong_values_are_refused_by_name(name, value, says):
    with pytest.raises(ParameterError, match=says) as caught:
        from_flat(Outer, {name: value})
    assert '\n' not in str(caught.value)
    with pytest.raises(ParameterError):
        check(INFO[name], value)


@pytest.mark.parametrize('name', ['coumt', 'inner', 'inner.', 'inner.angle.deg', '', 'angle'])
def test_unknown_names_are_refused_and_the_known_ones_named(name):
    with pytest.raises(ParameterError, match=r'unknown parameter .*known are: count, on, mode'):
        from_flat(Outer, {name: 1})


def test_the_defaults_of_frames_pass_their_own_checks():
    for info in describe(FrameParameters):
        assert check(info, info.default) == info.default
        assert info.help
    names = [info.name for info in describe(FrameParameters)]
    assert 'proposals.beta_deg' in names
    assert 'densify.width' in names
