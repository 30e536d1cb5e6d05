"""What the package's launch files share; needs `launch_ros`, which comes with ROS 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PACKAGE = 'drive_segment_ros'


def sensor_arguments(
    config: str, camera: str = "The camera's namespace: that of image_raw and camera_info."
) -> list[Any]:
    """Return the launch arguments of a node that hears a camera and a LiDAR.

    Args:
        config: name of the parameter file in the package's config folder.
        camera: what is to be said of the argument of that name.
    """
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument('camera', default_value='camera', description=camera),
        DeclareLaunchArgument(
            'image',
            default_value='image_raw',
            description="The raw image's topic, in the camera's namespace unless it starts with "
            '/; compressed images are heard beside it, at <image>/compressed.',
        ),
        DeclareLaunchArgument(
            'lidar', default_value='points', description="The LiDAR's PointCloud2 topic."
        ),
        DeclareLaunchArgument(
            'odometry',
            default_value='/odom',
            description='The nav_msgs/Odometry topic; takes precedence over /tf.',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=config_file(config),
            description='Parameters, a ROS YAML; arguments that are given override it.',
        ),
        DeclareLaunchArgument(
            'calibration_file',
            default_value='',
            description='Extrinsics, from `drive-segment inspect --calibration`; before tf. '
            'Empty: as in params_file.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description="The vehicle's namespace, before `camera`."
        ),
        parameter_flag(
            'use_sim_time', 'Take the time from /clock, which the bag player then publishes.'
        ),
        flag('autostart', 'Configure and activate the node.', default='true'),
        DeclareLaunchArgument(
            'log_level', default_value='info', description='debug, info, warn, error or fatal.'
        ),
        DeclareLaunchArgument(
            'bagfile', default_value='', description='A bag to play; empty: live sensors.'
        ),
    ]


def config_file(name: str) -> Any:
    """Return the place of a file in the package's config folder."""
    from launch.substitutions import PathJoinSubstitution
    from launch_ros.substitutions import FindPackageShare

    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


def flag(name: str, description: str, default: str = 'false') -> Any:
    """Declare an argument that is true or false."""
    from launch.actions import DeclareLaunchArgument

    return DeclareLaunchArgument(
        name, default_value=default, choices=['true', 'false'], description=description
    )


def parameter_flag(name: str, description: str) -> Any:
    """Declare an argument that sets a parameter to true or false, or leaves it to params_file."""
    from launch.actions import DeclareLaunchArgument

    return DeclareLaunchArgument(
        name,
        default_value='',
        choices=['', 'true', 'false'],
        description=f'{description} Empty: as in params_file.',
    )


def given(arguments: Mapping[str, str], names: Sequence[str]) -> dict[str, bool | str]:
    """Return the parameters whose arguments were given; all others are the parameter file's.

    Args:
        arguments: the launch context's configurations.
        names: of parameters and arguments alike.
    """
    flags = {'true': True, 'false': False}
    values = {name: arguments.get(name, '') for name in names}
    return {name: flags.get(value, value) for name, value in values.items() if value}


def sensor_node(name: str, parameters: Sequence[str] = ()) -> list[Any]:
    """Return the actions that start a node that hears a camera and a LiDAR, and its bag player.

    Args:
        name: of the executable and the node.
        parameters: further parameters that are arguments as well.
    """
    from launch.actions import OpaqueFunction
    from launch.substitutions import LaunchConfiguration

    arguments = [name, [LaunchConfiguration('camera')], parameters]
    return [*surroundings(), OpaqueFunction(function=camera_nodes, args=arguments)]


def surroundings() -> list[Any]:
    """Return the actions to go before nodes: their transport and the vehicle's namespace."""
    from launch.actions import SetEnvironmentVariable
    from launch.substitutions import EnvironmentVariable, LaunchConfiguration
    from launch_ros.actions import PushRosNamespace

    return [
        # Clouds and images of megabytes: see "Messages and DDS" in the documentation.
        SetEnvironmentVariable(
            'FASTDDS_BUILTIN_TRANSPORTS',
            EnvironmentVariable('FASTDDS_BUILTIN_TRANSPORTS', default_value='LARGE_DATA'),
        ),
        PushRosNamespace(LaunchConfiguration('namespace')),
    ]


def camera_nodes(
    context: Any, name: str, cameras: Sequence[Any], parameters: Sequence[str] = ()
) -> list[Any]:
    """Return the actions that start a node in each camera's namespace, and then the bag player.

    Args:
        context: the launch context, which knows the arguments.
        name: of the executable and the nodes.
        cameras: the namespaces.
        parameters: further parameters that are arguments as well.
    """
    nodes = [_camera_node(context, name, camera, parameters) for camera in cameras]
    actions = [action for node in nodes for action in (node, *_autostart(node))]
    bag = context.launch_configurations.get('bagfile', '')
    return [*actions, *_bag_player(bag, nodes)] if bag else actions


def _camera_node(context: Any, name: str, camera: Any, parameters: Sequence[str]) -> Any:
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import LifecycleNode

    names = ('use_sim_time', 'calibration_file', *parameters)
    set_here = given(context.launch_configurations, names)
    image = LaunchConfiguration('image')
    return LifecycleNode(
        package=PACKAGE,
        executable=name,
        name=name,
        namespace=camera,
        parameters=[LaunchConfiguration('params_file'), *([set_here] if set_here else [])],
        remappings=[
            ('points', LaunchConfiguration('lidar')),
            ('odom', LaunchConfiguration('odometry')),
            ('image_raw', image),
            ('image_raw/compressed', [image, '/compressed']),
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )


def _autostart(node: Any) -> list[Any]:
    """Return the actions that take a lifecycle node to active once it is up."""
    from launch.actions import EmitEvent, RegisterEventHandler
    from launch.conditions import IfCondition
    from launch.events import matches_action
    from launch.substitutions import LaunchConfiguration
    from launch_ros.event_handlers import OnStateTransition
    from launch_ros.events.lifecycle import ChangeState
    from lifecycle_msgs.msg import Transition

    condition = IfCondition(LaunchConfiguration('autostart'))

    def change(transition: int) -> Any:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(node), transition_id=transition
            ),
            condition=condition,
        )

    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state='configuring',
                goal_state='inactive',
                entities=[change(Transition.TRANSITION_ACTIVATE)],
            )
        ),
        change(Transition.TRANSITION_CONFIGURE),
    ]


def _bag_player(bag: str, nodes: Sequence[Any]) -> list[Any]:
    """Return what plays a bag, with /clock for those who use it, once all nodes are active.

    Configuring may take a minute, the first time, when much is compiled.
    """
    from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler
    from launch_ros.event_handlers import OnStateTransition
    from launch_ros.substitutions import ExecutableInPackage

    program = ExecutableInPackage(package=PACKAGE, executable='drive-segment')
    player = ExecuteProcess(cmd=[program, 'play', bag, '--clock'], output='screen')
    inactive = list(nodes)

    def play_after(context: Any, node: Any) -> list[Any]:
        # A node may become active again; the bag is played once.
        if node not in inactive:
            return []
        inactive.remove(node)
        return [] if inactive else [player]

    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                goal_state='active',
                entities=[OpaqueFunction(function=play_after, args=[node])],
            )
        )
        for node in nodes
    ]
