from __future__ import annotations

import importlib.util
import stat
import sys
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
        'camera', 'lidar', 'params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level',
        'bagfile',
    } <= arguments.keys()  # fmt: skip


@pytest.mark.parametrize(
    ('file', 'node', 'arguments'),
    [
        ('proposals.launch.py', 'proposals_node', {}),
        ('record.launch.py', 'pseudo_label_recorder_node', {'dataset': 'set'}),
    ],
)
def test_node_becomes_active_by_itself(installed, ros_domain, tmp_path, file, node, arguments):
    from launch.actions import (
        IncludeLaunchDescription,
        RegisterEventHandler,
        Shutdown,
        TimerAction,
    )
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.event_handlers import OnStateTransition

    states = []

    def remember(event, context):
        states.append((event.action.node_name, event.goal_state))
        return Shutdown() if event.goal_state == 'active' else None

    class OnAnyState(OnStateTransition):
        def handle(self, event, context):
            return remember(event, context)

    service = launch.LaunchService()
    service.include_launch_description(
        launch.LaunchDescription(
            [
                RegisterEventHandler(OnAnyState(entities=[])),
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(REPOSITORY / 'launch' / file)),
                    launch_arguments={
                        'camera': '/camera/front',
                        **{name: str(tmp_path / value) for name, value in arguments.items()},
                    }.items(),
                ),
                TimerAction(period=60.0, actions=[Shutdown(reason='node did not come up')]),
            ]
        )
    )
    service.run()
    assert (f'/camera/front/{node}', 'active') in states
