"""Parameter files in flat, nested or ROS layout, and assignments that override them."""

from __future__ import annotations

import dataclasses

import pytest

from drive_segment_ros.commands.options import as_assignments
from drive_segment_ros.errors import ParameterError
from drive_segment_ros.parameter_files import read_parameters
from drive_segment_ros.parameters import parameter


@dataclasses.dataclass(frozen=True)
class Inner:
    beta_deg: float = parameter(10.0, 'an angle', minimum=0.0)


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = parameter('auto', 'a name')
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    'text',
    [
        'inner.beta_deg: 8',
        'inner: {beta_deg: 8.0}',
        '/**:\n  ros__parameters:\n    inner: {beta_deg: 8.0}\n    another: 3\n',
    ],
)
def test_all_layouts_mean_the_same(tmp_path, text):
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    assert read_parameters(Outer, path) == Outer(inner=Inner(8.0))


def test_assignments_win_over_the_file(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('name: a\ninner: {beta_deg: 8.0}\n')
    assert read_parameters(Outer, path, ['inner.beta_deg=5']) == Outer('a', Inner(5.0))
    assert read_parameters(Outer, None, ['name=x=y']) == Outer('x=y')
    assert read_parameters(Outer, None, ['name=0.05']) == Outer('0.05')


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('name: 10:45\ninner: {beta_deg: 1e-3}\n')
    assert read_parameters(Outer, path) == Outer('10:45', Inner(1e-3))
    assert read_parameters(Outer, None, ['name=10:45']) == Outer('10:45')
    assert read_parameters(Outer, None, ['inner.beta_deg=5']) == Outer(inner=Inner(5.0))


def test_an_option_wins_over_the_file_even_where_it_is_the_default(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('name: a\ninner: {beta_deg: 8.0}\n')
    given = {'inner.beta_deg': Inner().beta_deg, 'name': None}
    assert read_parameters(Outer, path, as_assignments(given, ['name=b'])) == Outer('b')
    assert as_assignments({'name': None}, None) == []


def test_an_empty_file_keeps_the_defaults(tmp_path):
    (tmp_path / 'params.yaml').write_text('# nothing\n')
    assert read_parameters(Outer, tmp_path / 'params.yaml') == Outer()


@pytest.mark.parametrize(
    ('text', 'assignments', 'message'),
    [
        ('inner: {alpha: 1}', [], "unknown parameter 'inner.alpha'"),
        ('- 1', [], 'has no parameters'),
        ('a: [', [], 'not valid YAML'),
        ('', ['inner.beta_deg'], 'not of the form name=value'),
        ('', ['inner.beta_deg=-1'], 'minimum 0'),
        ('', ['inner.beta_deg=["'], 'not YAML'),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, assignments, message):
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    with pytest.raises(ParameterError, match=message) as error:
        read_parameters(Outer, path, assignments)
    assert '\n' not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r'none\.yaml'):
        read_parameters(Outer, tmp_path / 'none.yaml')
