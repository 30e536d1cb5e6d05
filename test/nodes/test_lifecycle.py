from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from drive_segment_ros.errors import CalibrationError  # noqa: E402
from drive_segment_ros.nodes import lifecycle  # noqa: E402
from drive_segment_ros.nodes.executables import NODES, load  # noqa: E402
from drive_segment_ros.nodes.lifecycle import ManagedNode  # noqa: E402

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class Echo(ManagedNode):
    """Publishes messages of `in` on `out`; the callbacks named in `refuse` fail."""

    refuse: tuple[str, ...] = ()

    def __init__(self, context, **options) -> None:
        super().__init__('echo', context=context, **options)
        self.calls: list[str] = []
        self.loads: dict[str, bool] = {}

    def subscribed_topics(self) -> tuple[str, ...]:
        return ('in',)

    def configure(self) -> None:
        self._note('configure')
        self.publisher = self.advertise(String, 'out', 10)

    def activate(self) -> None:
        self.subscribe(String, 'in', self.publisher.publish, 'auto', 10)
        self.every(10.0, lambda: None)
        self._note('activate')

    def deactivate(self) -> None:
        self._note('deactivate')

    def cleanup(self) -> None:
        self._note('cleanup')

    def _note(self, name: str) -> None:
        self.calls.append(name)
        self.loads[name] = self.loading
        if name in self.refuse:
            raise CalibrationError(f'cannot {name}')

    def entities(self) -> tuple[int, int, int]:
        mine = [t for t in (p.topic_name for p in self.publishers) if t == '/out']
        heard = [t for t in (s.topic_name for s in self.subscriptions) if t == '/in']
        # Without the timers of the diagnostics and of each following subscription.
        return len(mine), len(heard), len(list(self.timers)) - len(heard) - 1


@pytest.fixture
def node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Echo(context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_every_state_frees_what_it_made(node):
    for _ in range(2):
        assert node.entities() == (0, 0, 0)
        assert node.trigger_configure() == SUCCESS
        assert node.entities() == (1, 0, 0)
        assert node.trigger_activate() == SUCCESS
        assert node.entities() == (1, 1, 1)
        assert node.trigger_deactivate() == SUCCESS
        assert node.entities() == (1, 0, 0)
        assert node.trigger_cleanup() == SUCCESS
    assert node.entities() == (0, 0, 0)
    assert node.calls == ['configure', 'activate', 'deactivate', 'cleanup'] * 2
    # A signal may abandon a node that is loading, but not one that is still saving.
    loads = {'configure': True, 'activate': True, 'deactivate': False, 'cleanup': False}
    assert (node.loads, node.loading) == (loads, False)


def test_refused_configure_says_why_and_can_be_tried_again(node):
    node.refuse = ('configure',)
    assert node.trigger_configure() == FAILURE
    assert node.failure == 'cannot configure'
    assert node.entities() == (0, 0, 0)
    node.refuse = ()
    assert node.trigger_configure() == SUCCESS
    assert node.failure == ''


def test_an_error_while_undoing_does_not_hide_the_reason(node):
    node.refuse = ('activate', 'deactivate')
    node.trigger_configure()
    assert node.trigger_activate() == FAILURE
    assert (node.state, node.failure) == ('inactive', 'cannot activate')
    assert node.errors == {'not active': 1}
    node.refuse = ('cleanup',)
    node.trigger_cleanup()
    assert node.entities() == (0, 0, 0)


def test_refused_activate_leaves_the_node_inactive_and_clean(node):
    node.refuse = ('activate',)
    node.trigger_configure()
    assert node.trigger_activate() == FAILURE
    assert node.entities() == (1, 0, 0)
    assert not node.publisher.is_activated
    node.refuse = ()
    assert node.trigger_activate() == SUCCESS


def test_shutdown_frees_whatever_the_state(node):
    node.trigger_configure()
    node.trigger_activate()
    assert node.trigger_shutdown() == SUCCESS
    assert node.entities() == (0, 0, 0)


def test_what_overrides_the_qos_of_no_topic_is_named(ros_domain, capfd):
    context = rclpy.Context()
    rclpy.init(context=context)
    names = [f'qos_overrides./{topic}.depth' for topic in ('in.subscription', 'no.subscription',
             'out.publisher', 'diagnostics.publisher', 'in.publisher')]  # fmt: skip
    node = Echo(context, parameter_overrides=[Parameter(name, value=3) for name in names])
    assert node.trigger_configure() == SUCCESS
    told = f'ignored, QoS overrides of topics not of this node: {names[1]}, {names[4]}\n'
    assert told in capfd.readouterr().err
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_qos_a_user_gives_to_what_is_published_is_that_topics_alone(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    override = Parameter('qos_overrides./out.publisher.reliability', value='best_effort')
    node = Echo(context, parameter_overrides=[override])
    shared = QoSProfile(depth=1)
    for topic in ('out', 'other'):
        node.advertise(String, topic, shared)
    offers = {
        topic: node.get_publishers_info_by_topic(topic)[0].qos_profile.reliability
        for topic in ('out', 'other')
    }
    assert offers == {
        'out': ReliabilityPolicy.BEST_EFFORT,
        'other': ReliabilityPolicy.RELIABLE,
    }
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize('name', list(NODES))
def test_nodes_of_two_cameras_are_told_apart_on_diagnostics(ros_domain, name):
    context = rclpy.Context()
    # As launch files start them: in the camera's namespace, the image perhaps remapped.
    arguments = ['--ros-args', '-r', '/right/image_raw:=/right/image_rect']
    rclpy.init(context=context, args=arguments)
    listener = rclpy.create_node('listener', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    heard: list[DiagnosticArray] = []
    listener.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
    nodes = [load(name)(context=context, namespace=side) for side in ('/left', '/right')]
    deadline = time.monotonic() + 60
    while len({array.status[0].name for array in heard}) < 2 and time.monotonic() < deadline:
        for node in nodes:
            node.report()
        executor.spin_once(timeout_sec=0.05)
    sensors = {
        status.name.rpartition('/')[0]: status.hardware_id
        for array in heard
        for status in array.status
    }
    assert sensors == {'/left': '/left/image_raw', '/right': '/right/image_rect'}
    executor.shutdown()
    for node in (*nodes, listener):
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_only_a_node_that_is_told_to_gives_up(node):
    node.refuse = ('configure', 'activate')
    node.trigger_configure()
    assert not node.gave_up
    node.declare_parameter('exit_on_failure', True)
    node.trigger_configure()
    assert node.gave_up


def test_callbacks_that_fail_are_counted_and_named(node):
    def fail(message: object) -> None:
        raise ZeroDivisionError('oops') if message is None else CalibrationError('K is zero')

    call = node.guarded(fail, '/camera_info')
    call(None)
    call(object())
    assert node.errors == {'/camera_info': 2}
    assert node.last_error == {'/camera_info': 'K is zero'}


def test_errors_are_recent_for_ten_seconds(node, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(lifecycle, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    node.note_error('points', 'too short')
    now[0] = 108.0
    node.note_error('image', 'truncated')
    assert node.recent_errors() == {'points': 'too short', 'image': 'truncated'}
    now[0] = 112.0
    assert node.recent_errors() == {'image': 'truncated'}
    # Another thread has stored an error, but not its time yet.
    node.last_error['camera_info'] = 'all zero'
    assert node.recent_errors() == {'image': 'truncated'}
