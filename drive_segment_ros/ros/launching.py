"""What the package's launch files share; needs `launch_ros`, which comes with ROS 2."""

from __future__ import annotations

from collections.abc import Mapping
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
            'lidar', default_value='points', description="The LiDAR's PointCloud2 topic."
        ),
        DeclareLaunchArgument(
            'odometry',
            default_value='/odom',
            description='The nav_msgs/Odometry topic; goes before /tf.',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=config_file(config),
            description='Parameters, a ROS YAML.',
        ),
        DeclareLaunchArgument(
            'calibration_file',
            default_value='',
            description='Extrinsics, from `drive-segment inspect --calibration`; before tf.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description="The vehicle's namespace, before `camera`."
        ),
        flag('use_sim_time', 'Take the time from /clock, which the bag player then publishes.'),
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


def sensor_node(name: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the actions that start a node that hears a camera and a LiDAR, and its bag player.

    Args:
        name: of the executable and the node.
        parameters: further parameters, which win over the parameter file's.
    """
    from launch.substitutions import LaunchConfiguration

    camera = LaunchConfiguration('camera')
    return [*surroundings(), *camera_node(name, camera, parameters), bag_player()]


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


def camera_node(name: str, camera: Any, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the actions that start a node in a camera's namespace.

    Args:
        name: of the executable and the node.
        camera: the namespace.
        parameters: further parameters, which win over the parameter file's.
    """
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import LifecycleNode

    node = LifecycleNode(
        package=PACKAGE,
        executable=name,
        name=name,
        namespace=camera,
        parameters=[
            LaunchConfiguration('params_file'),
            {
                'use_sim_time': LaunchConfiguration('use_sim_time'),
                'calibration_file': LaunchConfiguration('calibration_file'),
                **(parameters or {}),
            },
        ],
        remappings=[
            ('points', LaunchConfiguration('lidar')),
            ('odom', LaunchConfiguration('odometry')),
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    return [node, *_autostart(node)]


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


def bag_player() -> Any:
    """Return the process that plays `bagfile:=`, with /clock for those who use it."""
    from launch.actions import ExecuteProcess
    from launch.conditions import IfCondition
    from launch.substitutions import LaunchConfiguration, PythonExpression
    from launch_ros.substitutions import ExecutableInPackage

    bagfile = LaunchConfiguration('bagfile')
    return ExecuteProcess(
        cmd=[
            ExecutableInPackage(package=PACKAGE, executable='drive-segment'),
            'play',
            bagfile,
            '--clock',
            '--wait',
            '20',
        ],
        condition=IfCondition(PythonExpression(["'", bagfile, "' != ''"])),
        output='screen',
    )
