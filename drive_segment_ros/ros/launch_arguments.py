"""The arguments of the package's launch files; needs `launch_ros`, which comes with ROS 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

PACKAGE = 'drive_segment_ros'
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')


def sensor_arguments(config: str, several: str = 'one node for all of them') -> list[Any]:
    """Return the launch arguments of a node that subscribes to cameras and a LiDAR.

    Args:
        config: name of the parameter file in the package's config folder.
        several: description of the nodes for several cameras.
    """
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(
            'camera',
            default_value='camera',
            description="The camera's namespace: that of image_raw and camera_info.",
        ),
        DeclareLaunchArgument(
            'cameras',
            default_value='',
            description='The namespaces of several cameras instead, separated by commas: '
            f'{several}.',
        ),
        DeclareLaunchArgument(
            'image',
            default_value='image_raw',
            description="The raw image topic, in the camera's namespace unless it starts with "
            '/; compressed images are subscribed to at <image>/compressed.',
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
            description='ROS parameter file (YAML); launch arguments override it.',
        ),
        DeclareLaunchArgument(
            'calibration_file',
            default_value='',
            description='Extrinsics, from `drive-segment inspect --calibration`; they override '
            'tf. Empty: as in params_file.',
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='',
            description="The vehicle's namespace, which contains that of `camera`.",
        ),
        parameter_flag(
            'use_sim_time', 'Take the time from /clock, which the bag player then publishes.'
        ),
        flag('autostart', 'Configure and activate the node.', default='true'),
        flag(
            'required',
            'End the launch with exit code 1 if a node cannot be configured or dies; otherwise '
            'the others continue, and the node can be corrected and configured again.',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=LOG_LEVELS,
            description='Log level of the nodes; that of the middleware is not changed.',
        ),
        DeclareLaunchArgument(
            'bagfile', default_value='', description='Bag to play; empty for live sensors.'
        ),
    ]


def config_file(name: str) -> Any:
    """Return the path of a file in the package's config folder."""
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
    """Declare an argument that sets a boolean parameter, or leaves it to params_file."""
    from launch.actions import DeclareLaunchArgument

    return DeclareLaunchArgument(
        name,
        default_value='',
        choices=['', 'true', 'false'],
        description=f'{description} Empty: as in params_file.',
    )


def given(arguments: Mapping[str, str], names: Sequence[str]) -> dict[str, bool | str]:
    """Return the parameters whose arguments were given; others are read from the parameter file.

    Args:
        arguments: the launch context's configurations.
        names: of the parameters, which are those of the arguments.
    """
    flags = {'true': True, 'false': False}
    values = {name: arguments.get(name, '') for name in names}
    return {name: flags.get(value, value) for name, value in values.items() if value}


def description(arguments: Sequence[Any], function: Callable[[Any], list[Any]]) -> Any:
    """Return a launch description that may be included anywhere, any number of times.

    All arguments are resolved while the function runs: in a scoped group they no longer exist when
    a node becomes active. Settings of the description do not affect later actions.

    Args:
        arguments: the declared launch arguments.
        function: takes the launch context, returns the actions.
    """
    from launch import LaunchDescription
    from launch.actions import OpaqueFunction, PopLaunchConfigurations, PushLaunchConfigurations

    return LaunchDescription(
        [
            PushLaunchConfigurations(),
            *arguments,
            OpaqueFunction(function=function),
            PopLaunchConfigurations(),
        ]
    )
