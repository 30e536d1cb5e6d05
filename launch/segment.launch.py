"""Masks of one or more cameras, with RViz or Foxglove to look at them.

ros2 launch drive_segment_ros segment.launch.py model:=~/model camera:=/camera/front rviz:=true
ros2 launch drive_segment_ros segment.launch.py model:=~/model camera:=/camera/left,/camera/right
"""

import tempfile
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from drive_segment_ros.ros.launching import (
    camera_nodes,
    config_file,
    flag,
    given,
    sensor_arguments,
    surroundings,
)

# The camera's namespace in config/segmentation.rviz.
CONFIGURED_CAMERA = '/camera/'


def generate_launch_description():
    """Return a node for each camera, their autostart, and what was asked for beside them."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'model', description='The model, a folder that `drive-segment export` wrote.'
            ),
            *sensor_arguments(
                'segmentation.yaml',
                camera="The camera's namespace, that of image_raw and camera_info; of several, a "
                'list with commas: a node each.',
            ),
            flag('rviz', 'Start RViz with the overlay, label, camera and painted cloud.'),
            flag('foxglove', 'Start foxglove_bridge, on this machine only (127.0.0.1:8765).'),
            *surroundings(),
            OpaqueFunction(function=segmentation_nodes),
            OpaqueFunction(function=rviz, condition=IfCondition(LaunchConfiguration('rviz'))),
            OpaqueFunction(
                function=foxglove, condition=IfCondition(LaunchConfiguration('foxglove'))
            ),
        ]
    )


def cameras(context):
    """Return the namespaces in `camera:=`."""
    text = LaunchConfiguration('camera').perform(context)
    names = [name.strip() for name in text.split(',') if name.strip()]
    if not names:
        raise RuntimeError(f'camera:={text!r} names no camera')
    return names


def segmentation_nodes(context):
    """Return a node for each camera, and what starts them."""
    return camera_nodes(context, 'segmentation_node', cameras(context), ('model',))


def rviz(context):
    """Return RViz, its configuration turned to the first camera."""
    namespace = LaunchConfiguration('namespace').perform(context).strip('/')
    first = cameras(context)[0]
    absolute = first if first.startswith('/') else f'/{namespace}/{first}'.replace('//', '/')
    text = Path(config_file('segmentation.rviz').perform(context)).read_text(encoding='utf-8')
    with tempfile.NamedTemporaryFile('w', suffix='.rviz', delete=False) as file:
        file.write(text.replace(CONFIGURED_CAMERA, f'{absolute.rstrip("/")}/'))
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', file.name],
            parameters=viewer_parameters(context),
            output='screen',
        )
    ]


def foxglove(context):
    """Return foxglove_bridge, which by itself would listen to the whole network."""
    return [
        Node(
            package='foxglove_bridge',
            executable='foxglove_bridge',
            parameters=[{'address': '127.0.0.1'}, *viewer_parameters(context)],
            output='screen',
        )
    ]


def viewer_parameters(context):
    """Return what a program that shows the nodes' messages shares with them."""
    clock = given(context.launch_configurations, ('use_sim_time',))
    return [clock] if clock else []
