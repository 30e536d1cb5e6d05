"""Parameter dataclasses on a node: declared, overridden, checked, changed; and as YAML."""

from __future__ import annotations

import dataclasses
import math

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.parameters import parameter, to_flat
from drive_segment_ros.ros.node_parameters import NodeParameters, yaml_for


@dataclasses.dataclass(frozen=True)
class Inner:
    beta_deg: float = parameter(10.0, 'smallest angle', unit='deg', minimum=1.0, maximum=45.0)
    tiny: float = parameter(1e-6, 'a small number')


@dataclasses.dataclass(frozen=True)
class Outer:
    rate: float = parameter(5.0, 'how often', unit='Hz', minimum=0.0, dynamic=True)
    count: int = parameter(3, 'how many', minimum=1, maximum=9, dynamic=True)
    method: str = parameter('auto', 'which one', choices=('auto', 'beta'), dynamic=True)
    topics: list[str] = parameter([], 'more topics')  # noqa: RUF009 - a factory is made of it
    enabled: bool = parameter(True, 'whether', dynamic=True)
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.fixture
def make_node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(**overrides):
        values = [Parameter(name.replace('__', '.'), value=v) for name, v in overrides.items()]
        nodes.append(rclpy.create_node('node', context=context, parameter_overrides=values))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def unconfigured() -> str:
    return 'unconfigured'


def set_one(node, name, value):
    return node.set_parameters([Parameter(name, value=value)])[0]


def test_defaults_and_overrides(make_node):
    assert NodeParameters(make_node(), Outer, unconfigured).values == Outer()
    node = make_node(rate=2, topics=['a', 'b'], inner__beta_deg=20.0)
    values = NodeParameters(node, Outer, unconfigured).values
    assert values == Outer(rate=2.0, topics=['a', 'b'], inner=Inner(beta_deg=20.0))
    assert type(values.rate) is float


@pytest.mark.parametrize(('value', 'text'), [(-0.05, '-0.05'), (1, '1'), ('auto', 'auto')])
def test_a_number_will_do_where_a_text_may_be_one(make_node, value, text):
    node = make_node(camera_offset=value)
    assert NodeParameters(node, SyncParameters, unconfigured).values.camera_offset == text


@pytest.mark.parametrize('value', [math.nan, math.inf, True, '0,05'])
def test_what_is_neither_is_refused(make_node, value):
    with pytest.raises(ParameterError, match='camera_offset'):
        NodeParameters(make_node(camera_offset=value), SyncParameters, unconfigured)


def test_descriptors_tell_tools_what_is_allowed(make_node):
    node = make_node()
    NodeParameters(node, Outer, unconfigured)
    beta = node.describe_parameter('inner.beta_deg')
    assert not beta.read_only
    assert beta.additional_constraints == '1 to 45 deg; set only while unconfigured'
    assert beta.description == 'Smallest angle. [1 to 45 deg]'
    assert (beta.floating_point_range[0].from_value, beta.floating_point_range[0].to_value) == (
        1.0,
        45.0,
    )
    rate = node.describe_parameter('rate')
    assert not rate.read_only
    assert rate.additional_constraints == 'at least 0 Hz'
    assert node.describe_parameter('count').integer_range[0].to_value == 9
    assert 'auto | beta' in node.describe_parameter('method').description


def test_dynamic_parameters_change_and_are_told(make_node):
    node, told = make_node(), []
    parameters = NodeParameters(node, Outer, unconfigured, told.append)
    assert set_one(node, 'rate', 7).successful
    assert set_one(node, 'method', 'beta').successful
    assert parameters.values == Outer(rate=7.0, method='beta')
    assert told == [Outer(rate=7.0), Outer(rate=7.0, method='beta')]


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('rate', -1.0, 'minimum 0'),
        ('rate', 'fast', 'takes float'),
        ('method', 'best', 'one of auto, beta'),
        ('method', 5, 'one of auto, beta'),
        ('count', 10, ''),
        ('inner.beta_deg', 90.0, 'inner.beta_deg'),
    ],
)
def test_bad_changes_are_refused_and_nothing_moves(make_node, name, value, words):
    node, told = make_node(), []
    parameters = NodeParameters(node, Outer, unconfigured, told.append)
    result = set_one(node, name, value)
    assert not result.successful
    assert words in result.reason
    assert parameters.values == Outer()
    assert told == []


@pytest.mark.parametrize(
    ('state', 'advice'),
    [
        ('active', 'while the node is active; deactivate it and clean it up first'),
        ('inactive', 'while the node is inactive; clean it up first'),
        ('finalized', 'while the node is finalized'),
    ],
)
def test_what_configuring_reads_changes_only_while_unconfigured(make_node, state, advice):
    node, states = make_node(), [state]
    parameters = NodeParameters(node, Outer, lambda: states[-1])
    result = set_one(node, 'inner.beta_deg', 20.0)
    assert (result.successful, result.reason) == (False, f'inner.beta_deg cannot change {advice}')
    assert set_one(node, 'inner.beta_deg', 10.0).successful
    assert set_one(node, 'rate', 2.0).successful
    states.append('unconfigured')
    assert set_one(node, 'inner.beta_deg', 20.0).successful
    assert parameters.values == Outer(rate=2.0, inner=Inner(beta_deg=20.0))


def test_change_that_the_node_refuses_does_not_stick(make_node):
    def refuse(values):
        raise ParameterError('not now')

    node = make_node()
    parameters = NodeParameters(node, Outer, unconfigured, refuse)
    result = set_one(node, 'rate', 1.0)
    assert (result.successful, result.reason) == (False, 'not now')
    assert parameters.values.rate == 5.0
    assert node.get_parameter('rate').value == 5.0


@pytest.mark.parametrize(
    ('overrides', 'words'),
    [
        ({'inner__beta_deg': 90.0}, 'inner.beta_deg'),
        ({'rate': -1.0}, 'minimum 0'),
        ({'rate': 'fast'}, 'rate'),
        ({'count': 'many'}, 'count'),
        ({'count': 0}, 'count'),
        ({'method': 'best'}, 'one of auto, beta'),
        ({'topics': 'camera'}, 'topics'),
    ],
)
def test_bad_overrides_are_named_in_one_line(make_node, overrides, words):
    with pytest.raises(ParameterError) as caught:
        NodeParameters(make_node(**overrides), Outer, unconfigured)
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_other_parameters_of_the_node_pass(make_node):
    node = make_node()
    node.declare_parameter('foreign', 1)
    NodeParameters(node, Outer, unconfigured)
    assert set_one(node, 'foreign', 2).successful
    assert set_one(node, 'use_sim_time', True).successful


def test_what_was_set_and_is_no_parameter_is_named(make_node, capfd):
    NodeParameters(make_node(rate=2.0, use_sim_time=False), Outer, unconfigured)
    assert 'not parameters' not in capfd.readouterr().err

    NodeParameters(make_node(rate=2.0, inner__beta_dg=20.0), Outer, unconfigured)

    assert 'ignored, not parameters of this node: inner.beta_dg' in capfd.readouterr().err


def test_declaring_twice_keeps_values(make_node):
    node = make_node(rate=2.0)
    NodeParameters(node, Outer, unconfigured)
    assert NodeParameters(node, Outer, unconfigured).values.rate == 2.0


def test_yaml_holds_every_default_and_explains_it():
    text = yaml_for(Outer, '/**')
    flat = yaml.safe_load(text)['/**']['ros__parameters']
    inner = flat.pop('inner')
    flat |= {f'inner.{name}': value for name, value in inner.items()}
    assert flat == to_flat(Outer())
    assert '    # How often. [at least 0 Hz; may change while running]\n    rate: 5.0\n' in text
    assert '    inner:\n      # Smallest angle. [1 to 45 deg]\n      beta_deg: 10.0\n' in text
    assert all(len(line) <= 99 for line in text.splitlines())


def test_ros_reads_the_yaml(ros_domain, tmp_path):
    file = tmp_path / 'node.yaml'
    file.write_text(yaml_for(Outer, 'node').replace('rate: 5.0', 'rate: 2.5'))
    context = rclpy.Context()
    rclpy.init(context=context, args=['--ros-args', '--params-file', str(file)])
    node = rclpy.create_node('node', context=context)
    try:
        assert NodeParameters(node, Outer, unconfigured).values == Outer(rate=2.5)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
