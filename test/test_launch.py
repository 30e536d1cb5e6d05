from __future__ import annotations

import importlib.util
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

launch = pytest.importorskip('launch', reason='launch is not installed (it comes with ROS 2)')
pytest.importorskip('launch_ros', reason='launch_ros is not installed (it comes with ROS 2)')

REPOSITORY = Path(__file__).resolve().parent.parent
LAUNCH_FILES = sorted((REPOSITORY / 'launch').glob('*.launch.py'))
PACKAGE = 'drive_segment_ros'


def description(path: Path) -> launch.LaunchDescription:
    spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """Return an install prefix as of colcon, whose executables run from this checkout."""
    prefix = tmp_path / 'prefix'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    libexec = prefix / 'lib' / PACKAGE
    share = prefix / 'share' / PACKAGE
    for folder in (index, libexec, share):
        folder.mkdir(parents=True)
    (index / PACKAGE).touch()
    (share / 'config').symlink_to(REPOSITORY / 'config')
    nodes = ('proposals_node', 'pseudo_label_recorder_node', 'segmentation_node')
    entries = {name: (f'{PACKAGE}.nodes.executables', name) for name in nodes}
    for name, (module, function) in {
        **entries, 'drive-segment': (f'{PACKAGE}.cli', 'main'),
    }.items():  # fmt: skip
        script = libexec / name
        script.write_text(f'#!{sys.executable}\nfrom {module} import {function}\n{function}()\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    monkeypatch.setenv('PYTHONPATH', f'{REPOSITORY}', prepend=':')
    return prefix


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_documented_and_the_usual_ones_are_there(path):
    arguments = {a.name: a for a in description(path).get_launch_arguments()}
    assert all(argument.description for argument in arguments.values())
    assert {
        'camera', 'cameras', 'image', 'lidar', 'odometry', 'params_file', 'namespace',
        'use_sim_time', 'autostart', 'log_level', 'bagfile',
    } <= arguments.keys()  # fmt: skip


def included(file: str, arguments: dict[str, str]):
    """Return the action that includes one of the package's launch files."""
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(REPOSITORY / 'launch' / file))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def launched(
    actions: list,
    awaited: set[tuple[str, str]],
    others: Callable[[launch.LaunchContext], bool] = lambda context: True,
) -> tuple[set, int]:
    """Run actions until all awaited states are reached and `others` is true, at most 3 minutes.

    Returns:
        The states that nodes have reached, as (node, state), and the exit code.
    """
    from launch.actions import OpaqueFunction, RegisterEventHandler, Shutdown, TimerAction
    from launch_ros.event_handlers import OnStateTransition

    states = set()

    def look(context):
        if awaited <= states and others(context):
            return [Shutdown()]
        return [TimerAction(period=0.2, actions=[OpaqueFunction(function=look)])]

    class OnAnyState(OnStateTransition):
        def handle(self, event, context):
            states.add((event.action.node_name, event.goal_state))

    service = launch.LaunchService()
    service.include_launch_description(
        launch.LaunchDescription(
            [
                RegisterEventHandler(OnAnyState(entities=[])),
                OpaqueFunction(function=look),
                *actions,
                TimerAction(period=180.0, actions=[Shutdown(reason='nodes did not come up')]),
            ]
        )
    )
    code = service.run()
    return states, code


def context_of(file: str, arguments: dict[str, str]) -> tuple[launch.LaunchContext, list]:
    """Return a launch context with arguments, and the actions that the file makes in it."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    actions = description(REPOSITORY / 'launch' / file).entities
    for action in actions:
        if isinstance(action, DeclareLaunchArgument):
            action.visit(context)
    (opaque,) = (action for action in actions if isinstance(action, OpaqueFunction))
    return context, opaque.execute(context)


@pytest.mark.parametrize(
    ('file', 'node', 'folders'),
    [
        ('proposals.launch.py', 'proposals_node', {}),
        ('record.launch.py', 'pseudo_label_recorder_node', {'dataset': 'set'}),
    ],
)
def test_node_becomes_active_by_itself(installed, ros_domain, tmp_path, file, node, folders):
    awaited = {(f'/camera/front/{node}', 'active')}
    arguments = {name: str(tmp_path / folder) for name, folder in folders.items()}
    include = included(file, {'camera': '/camera/front', **arguments})
    assert awaited <= launched([include], awaited)[0]


def test_a_node_for_each_camera_becomes_active(installed, ros_domain, model_folder):
    awaited = {(f'/car/{side}/segmentation_node', 'active') for side in ('left', 'right')}
    arguments = {'cameras': 'left, right', 'namespace': 'car', 'model': str(model_folder)}
    assert awaited <= launched([included('segment.launch.py', arguments)], awaited)[0]


def test_one_recorder_takes_all_cameras_of_a_rig(installed, ros_domain, tmp_path):
    awaited = {('/car/pseudo_label_recorder_node', 'active')}
    arguments = {
        'cameras': 'front, front_left', 'namespace': 'car', 'dataset': str(tmp_path / 'set'),
    }  # fmt: skip
    assert awaited <= launched([included('record.launch.py', arguments)], awaited)[0]


def test_a_rig_is_one_node_with_its_cameras_as_a_parameter(installed):
    from launch.utilities import perform_substitutions
    from launch_ros.actions import LifecycleNode
    from launch_ros.utilities import evaluate_parameters

    arguments = {
        'cameras': 'front,/rear', 'namespace': 'car', 'dataset': '/data', 'image': 'image_rect',
    }  # fmt: skip
    context, actions = context_of('record.launch.py', arguments)
    (node,) = (action for action in actions if isinstance(action, LifecycleNode))
    given = evaluate_parameters(context, node._Node__parameters)[-1]
    assert list(given['cameras']) == ['front', '/rear']
    remappings = [
        tuple(perform_substitutions(context, side) for side in pair)
        for pair in node._Node__remappings
    ]
    assert remappings[2:] == [
        ('front/image_raw', 'front/image_rect'),
        ('front/image_raw/compressed', 'front/image_rect/compressed'),
        ('/rear/image_raw', '/rear/image_rect'),
        ('/rear/image_raw/compressed', '/rear/image_rect/compressed'),
    ]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'cameras': 'front,front'}, 'each camera once'),
        ({'cameras': ','}, 'each camera once'),
        ({'cameras': 'front,rear', 'image': '/image'}, 'has its own'),
    ],
)
def test_cameras_that_cannot_be_a_rig_are_an_error(installed, arguments, words):
    with pytest.raises(RuntimeError, match=words):
        context_of('record.launch.py', {'dataset': '/data', **arguments})


def test_a_bag_is_played_once_all_nodes_are_active(installed, ros_domain, model_folder, tmp_path):
    record = tmp_path / 'played'
    (installed / f'lib/{PACKAGE}/drive-segment').write_text(f'#!/bin/sh\necho "$@" >> {record}\n')
    active = {(f'/{side}/segmentation_node', 'active') for side in ('left', 'right')}
    bag = tmp_path / "a driver's bag"
    bag.mkdir()
    arguments = {'cameras': 'left,right', 'model': str(model_folder), 'bagfile': str(bag)}

    include = included('segment.launch.py', arguments)
    states, _ = launched([include], active, lambda _: record.exists())

    assert active <= states
    assert record.read_text() == f'play {bag} --clock\n'


def test_a_node_without_its_model_stays(installed, ros_domain, tmp_path):
    awaited = {('/camera/segmentation_node', 'unconfigured')}
    arguments = {'model': str(tmp_path / 'none')}
    states, code = launched([included('segment.launch.py', arguments)], awaited)
    assert awaited <= states
    assert code == 0


@pytest.mark.parametrize('broken', ['model', 'executable'])
def test_a_launch_that_must_not_fail_ends_with_an_error(
    installed, ros_domain, model_folder, tmp_path, broken
):
    model = tmp_path / 'none' if broken == 'model' else model_folder
    if broken == 'executable':
        (installed / f'lib/{PACKAGE}/segmentation_node').write_text('#!/bin/sh\nexit 3\n')
    arguments = {'model': str(model), 'required': 'true'}
    # The awaited state is never reached, so the launch must end by itself.
    _, code = launched([included('segment.launch.py', arguments)], {('none', 'none')})
    assert code == 1


def test_nodes_included_side_by_side_each_have_their_own_arguments(
    installed, ros_domain, model_folder, tmp_path
):
    from launch.actions import GroupAction

    model = str(model_folder)
    awaited = {
        (f'/{camera}/{node}', 'active')
        for camera, node in [
            ('left', 'segmentation_node'),
            ('right', 'segmentation_node'),
            ('right', 'proposals_node'),
        ]
    }
    left_after = {}

    def all_there(context):
        left_after.update(context.launch_configurations)
        return True

    actions = [
        GroupAction([included('segment.launch.py', {'camera': 'left', 'model': model})]),
        included('segment.launch.py', {'camera': '/right', 'model': model}),
        included('proposals.launch.py', {}),
    ]
    states, code = launched(actions, awaited, all_there)
    assert awaited <= states
    assert code == 0
    assert 'params_file' not in left_after
    assert 'ros_namespace' not in left_after


def test_a_group_with_a_namespace_goes_before_the_camera(installed, ros_domain, model_folder):
    from launch.actions import GroupAction
    from launch_ros.actions import PushRosNamespace

    awaited = {('/fleet/car/left/segmentation_node', 'active')}
    arguments = {'camera': 'left', 'namespace': 'car', 'model': str(model_folder)}
    include = included('segment.launch.py', arguments)
    states, _ = launched([GroupAction([PushRosNamespace('fleet'), include])], awaited)
    assert awaited <= states


def test_configured_again_by_hand_a_node_waits_to_be_activated(
    installed, ros_domain, model_folder
):
    from launch.actions import EmitEvent, RegisterEventHandler
    from launch.events import matches_action
    from launch_ros.actions import LifecycleNode
    from launch_ros.event_handlers import OnStateTransition
    from launch_ros.events.lifecycle import ChangeState
    from lifecycle_msgs.msg import Transition

    _, actions = context_of('segment.launch.py', {'model': str(model_folder)})
    (node,) = (action for action in actions if isinstance(action, LifecycleNode))
    steps = {
        'active': Transition.TRANSITION_DEACTIVATE,
        'inactive': Transition.TRANSITION_CLEANUP,
        'unconfigured': Transition.TRANSITION_CONFIGURE,
    }
    seen = []

    class Hands(OnStateTransition):
        def handle(self, event, context):
            seen.append(event.goal_state)
            again = seen.count('configuring') > 1
            if again or 'active' not in seen or event.goal_state not in steps:
                return []
            change = ChangeState(
                lifecycle_node_matcher=matches_action(node),
                transition_id=steps[event.goal_state],
            )
            return [EmitEvent(event=change)]

    looks = []

    def stayed_inactive(context):
        # Inactive for 10 looks, two seconds; the first activation took tenths of a second.
        looks.append(seen[-1] if seen.count('configuring') == 2 else '')
        return looks[-10:] == ['inactive'] * 10

    launched([RegisterEventHandler(Hands(entities=[])), *actions], set(), stayed_inactive)
    assert looks[-1] == 'inactive', seen
    assert seen.count('active') == 1


@pytest.mark.parametrize(
    ('name', 'value'), [('params_file', '/nope.yaml'), ('bagfile', '/nope')], ids=str
)
def test_a_file_that_is_not_there_is_an_error(installed, model_folder, name, value):
    arguments = {'model': str(model_folder), name: value}
    with pytest.raises(RuntimeError, match=f'{name}:={value}: no such'):
        context_of('segment.launch.py', arguments)


def test_a_viewer_that_is_not_installed_leaves_the_masks_running(installed, model_folder):
    from launch.actions import LogInfo
    from launch_ros.actions import LifecycleNode

    arguments = {'model': str(model_folder), 'rviz': 'true', 'foxglove': 'true'}
    context, actions = context_of('segment.launch.py', arguments)
    lines = [
        launch.utilities.perform_substitutions(context, action.msg)
        for action in actions
        if isinstance(action, LogInfo)
    ]
    assert [line.split()[0] for line in lines] == ['rviz2', 'foxglove_bridge']
    assert any(isinstance(action, LifecycleNode) for action in actions)


def test_the_log_level_is_that_of_the_nodes_own_logger(installed, model_folder):
    from launch_ros.actions import LifecycleNode

    arguments = {
        'model': str(model_folder), 'cameras': 'front,/rear', 'namespace': '/car',
        'log_level': 'debug',
    }  # fmt: skip
    _, actions = context_of('segment.launch.py', arguments)
    nodes = [action for action in actions if isinstance(action, LifecycleNode)]
    assert [node._Node__arguments[-1] for node in nodes] == [
        'car.front.segmentation_node:=debug', 'rear.segmentation_node:=debug'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({}, {'start': False, 'model': '/m', 'calibration_file': '/c', 'use_sim_time': True}),
        (
            {'start': 'true', 'model': '/n', 'calibration_file': '/d', 'use_sim_time': 'false'},
            {'start': True, 'model': '/n', 'calibration_file': '/d', 'use_sim_time': False},
        ),
    ],
)
def test_the_parameter_file_holds_where_no_argument_is_given(
    installed, tmp_path, arguments, expected
):
    import yaml
    from launch_ros.actions import LifecycleNode
    from launch_ros.utilities import evaluate_parameters

    file = tmp_path / 'params.yaml'
    in_file = {'start': False, 'model': '/m', 'calibration_file': '/c', 'use_sim_time': True}
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': in_file}}))
    configured = {'dataset': '/data', 'params_file': str(file), **arguments}
    context, actions = context_of('record.launch.py', configured)
    (node,) = (action for action in actions if isinstance(action, LifecycleNode))
    merged = {}
    for part in evaluate_parameters(context, node._Node__parameters):
        if isinstance(part, Path):
            part = yaml.safe_load(part.read_text())['/**']['ros__parameters']
        merged |= part
    assert merged == {'dataset': '/data', **expected}


def test_another_image_is_heard_raw_and_compressed(installed):
    from launch.utilities import perform_substitutions

    arguments = {'image': '/cam/image_rect', 'lidar': '/l', 'odometry': '/o'}
    context, (node, *_) = context_of('proposals.launch.py', arguments)
    remappings = [
        tuple(perform_substitutions(context, side) for side in pair)
        for pair in node._Node__remappings
    ]
    assert remappings == [
        ('points', '/l'),
        ('odom', '/o'),
        ('image_raw', '/cam/image_rect'),
        ('image_raw/compressed', '/cam/image_rect/compressed'),
    ]


def test_rviz_is_turned_to_the_first_camera_and_foxglove_to_this_machine(installed):
    from launch_ros.utilities import evaluate_parameters

    path = REPOSITORY / 'launch' / 'segment.launch.py'
    spec = importlib.util.spec_from_file_location('segment_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    context.launch_configurations.update(
        {'cameras': 'front,rear', 'namespace': 'car', 'use_sim_time': 'false'}
    )
    for package in ('rviz2', 'foxglove_bridge'):
        (installed / 'share/ament_index/resource_index/packages' / package).touch()
    (viewer,) = module.rviz(context)
    file = next(w for w in viewer._Node__arguments if str(w).endswith('.rviz'))
    text = Path(file).read_text(encoding='utf-8')
    assert '/car/front/segmentation/points' in text
    assert ' /camera/' not in text.split('Panels', 1)[1]
    (bridge,) = module.foxglove(context)
    for node, address in ((viewer, {}), (bridge, {'address': '127.0.0.1'})):
        parameters = evaluate_parameters(context, node._Node__parameters)
        merged = {name: value for part in parameters for name, value in part.items()}
        assert merged == {**address, 'use_sim_time': False}
    del context.launch_configurations['use_sim_time']
    assert not module.rviz(context)[0]._Node__parameters
