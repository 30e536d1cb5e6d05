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
    """The package as colcon would install it, its executables run from this checkout."""
    prefix = tmp_path / 'prefix'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    libexec = prefix / 'lib' / PACKAGE
    share = prefix / 'share' / PACKAGE
    for folder in (index, libexec, share):
        folder.mkdir(parents=True)
    (index / PACKAGE).touch()
    (share / 'config').symlink_to(REPOSITORY / 'config')
    for name, module in (
        ('proposals_node', f'{PACKAGE}.nodes.proposals_node'),
        ('pseudo_label_recorder_node', f'{PACKAGE}.nodes.pseudo_label_recorder_node'),
        ('segmentation_node', f'{PACKAGE}.nodes.segmentation_node'),
        ('drive-segment', f'{PACKAGE}.cli'),
    ):
        script = libexec / name
        script.write_text(f'#!{sys.executable}\nfrom {module} import main\nmain()\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    monkeypatch.setenv('PYTHONPATH', f'{REPOSITORY}', prepend=':')
    return prefix


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_documented_and_the_usual_ones_are_there(path):
    arguments = {a.name: a for a in description(path).get_launch_arguments()}
    assert all(argument.description for argument in arguments.values())
    assert {
        'camera', 'image', 'lidar', 'odometry', 'params_file', 'namespace', 'use_sim_time',
        'autostart', 'log_level', 'bagfile',
    } <= arguments.keys()  # fmt: skip


def launched(
    file: str,
    arguments: dict[str, str],
    awaited: set[tuple[str, str]],
    others: Callable[[], bool] = lambda: True,
) -> set:
    """Run a launch file until nodes have reached states and others are ready, for a minute."""
    from launch.actions import (
        IncludeLaunchDescription,
        OpaqueFunction,
        RegisterEventHandler,
        Shutdown,
        TimerAction,
    )
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.event_handlers import OnStateTransition

    states = set()

    def look(context):
        if awaited <= states and others():
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
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(REPOSITORY / 'launch' / file)),
                    launch_arguments=arguments.items(),
                ),
                TimerAction(period=60.0, actions=[Shutdown(reason='nodes did not come up')]),
            ]
        )
    )
    service.run()
    return states


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
    assert awaited <= launched(file, {'camera': '/camera/front', **arguments}, awaited)


def test_a_node_for_each_camera_becomes_active(installed, ros_domain, model_folder):
    awaited = {(f'/car/{side}/segmentation_node', 'active') for side in ('left', 'right')}
    arguments = {'camera': 'left, right', 'namespace': 'car', 'model': str(model_folder)}
    assert awaited <= launched('segment.launch.py', arguments, awaited)


def test_a_bag_is_played_once_all_nodes_are_active(installed, ros_domain, model_folder, tmp_path):
    record = tmp_path / 'played'
    (installed / f'lib/{PACKAGE}/drive-segment').write_text(f'#!/bin/sh\necho "$@" >> {record}\n')
    active = {(f'/{side}/segmentation_node', 'active') for side in ('left', 'right')}
    bag = tmp_path / "a driver's bag"
    arguments = {'camera': 'left,right', 'model': str(model_folder), 'bagfile': str(bag)}

    states = launched('segment.launch.py', arguments, active, lambda: record.exists())

    assert active <= states
    assert record.read_text() == f'play {bag} --clock\n'


def test_a_node_without_its_model_stays(installed, ros_domain, tmp_path):
    awaited = {('/camera/segmentation_node', 'unconfigured')}
    arguments = {'model': str(tmp_path / 'none')}
    assert awaited <= launched('segment.launch.py', arguments, awaited)


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
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import LifecycleNode
    from launch_ros.utilities import evaluate_parameters

    file = tmp_path / 'params.yaml'
    in_file = {'start': False, 'model': '/m', 'calibration_file': '/c', 'use_sim_time': True}
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': in_file}}))
    context = launch.LaunchContext()
    context.launch_configurations.update(
        {'dataset': '/data', 'params_file': str(file), **arguments}
    )
    actions = description(REPOSITORY / 'launch' / 'record.launch.py').entities
    for action in actions:
        if isinstance(action, DeclareLaunchArgument):
            action.visit(context)
    (opaque,) = (action for action in actions if isinstance(action, OpaqueFunction))
    (node,) = (a for a in opaque.execute(context) if isinstance(a, LifecycleNode))
    merged = {}
    for part in evaluate_parameters(context, node._Node__parameters):
        if isinstance(part, Path):
            part = yaml.safe_load(part.read_text())['/**']['ros__parameters']
        merged |= part
    assert merged == {'dataset': '/data', **expected}


def test_another_image_is_heard_raw_and_compressed():
    from launch.utilities import perform_substitutions

    from drive_segment_ros.ros.launching import camera_nodes

    context = launch.LaunchContext()
    context.launch_configurations.update(
        {'image': '/cam/image_rect', 'lidar': '/l', 'odometry': '/o', 'params_file': '/p'}
    )
    node = camera_nodes(context, 'segmentation_node', ['cam'])[0]
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
        {'camera': 'front,rear', 'namespace': 'car', 'use_sim_time': 'false'}
    )
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
