"""What the package's launch files share; needs `launch_ros`, which comes with ROS 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PACKAGE = 'drive_segment_ros'


def sensor_arguments(config: str) -> list[Any]:
    """Return the launch arguments of a node that hears a camera and a LiDAR.

    Args:
        config: name of the parameter file in the package's config folder.
    """
    from launch.actions import DeclareLaunchArgument
    from launch.substitutions import PathJoinSubstitution
    from launch_ros.substitutions import FindPackageShare

    default_params = PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', config])
    return [
        DeclareLaunchArgument(
            'camera',
            default_value='camera',
            description="The camera's namespace: that of image_raw and camera_info.",
        ),
        DeclareLaunchArgument(
            'lidar', default_value='points', description="The LiDAR's PointCloud2 topic."
        ),
        DeclareLaunchArgument(
            'odometry', default_value='/odom', description='The nav_msgs/Odometry topic.'
        ),
        DeclareLaunchArgument(
            'params_file', default_value=default_params, description='Parameters, a ROS YAML.'
        ),
        DeclareLaunchArgument(
            'calibration_file',
            default_value='',
            description='Extrinsics, from `drive-segment inspect --calibration`; empty: tf.',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description="The vehicle's namespace, before `camera`."
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='Take the time from /clock, which the bag player then publishes.',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            choices=['true', 'false'],
            description='Configure and activate the node.',
        ),
        DeclareLaunchArgument(
            'log_level', default_value='info', description='debug, info, warn, error or fatal.'
        ),
        DeclareLaunchArgument(
            'bagfile', default_value='', description='A bag to play; empty: live sensors.'
        ),
    ]


def sensor_node(name: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the actions that start a node that hears a camera and a LiDAR, and its bag player.

    Args:
        name: of the executable and the node.
        parameters: further parameters, which win over the parameter file's.
    """
    from launch.actions import SetEnvironmentVariable
    from launch.substitutions import EnvironmentVariable, LaunchConfiguration
    from launch_ros.actions import LifecycleNode, PushRosNamespace

    node = LifecycleNode(
        package=PACKAGE,
        executable=name,
        name=name,
        namespace=LaunchConfiguration('camera'),
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
    return [
        # Clouds and images of megabytes: see "Messages and DDS" in the documentation.
        SetEnvironmentVariable(
            'FASTDDS_BUILTIN_TRANSPORTS',
            EnvironmentVariable('FASTDDS_BUILTIN_TRANSPORTS', default_value='LARGE_DATA'),
        ),
        PushRosNamespace(LaunchConfiguration('namespace')),
        node,
        *_autostart(node),
        _bag_player(),
    ]


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


def _bag_player() -> Any:
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
