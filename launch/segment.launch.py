"""Launch a segmentation node for each camera, and optionally RViz or Foxglove to view the masks.

ros2 launch drive_segment_ros segment.launch.py model:=~/model camera:=/camera/front rviz:=true
ros2 launch drive_segment_ros segment.launch.py model:=~/model cameras:=/camera/left,/camera/right
"""

import tempfile
from pathlib import Path

from launch.actions import DeclareLaunchArgument

from drive_segment_ros.ros.launch_arguments import (
    config_file,
    description,
    flag,
    given,
    sensor_arguments,
)
from drive_segment_ros.ros.launching import (
    absolute_namespace,
    camera_nodes,
    cameras,
    optional_node,
)

# The camera's namespace in config/segmentation.rviz.
CONFIGURED_CAMERA = '/camera/'


def generate_launch_description():
    """Return the arguments, a node with autostart for each camera, and the optional programs."""
    arguments = [
        DeclareLaunchArgument(
            'model',
            description='Model written by `drive-segment export`: a folder, a URL, or '
            'hf://OWNER/NAME.',
        ),
        *sensor_arguments(
            'segmentation.yaml', 'a node each, which share the model and all parameters'
        ),
        flag('rviz', 'Start RViz with the overlay, the mask, camera and painted cloud.'),
        flag('foxglove', 'Start foxglove_bridge, on this machine only (127.0.0.1:8765).'),
    ]
    return description(arguments, nodes)


def nodes(context):
    """Return the actions that start a node for each camera, and the requested viewers."""
    viewers = {'rviz': rviz, 'foxglove': foxglove}
    wanted = [v for name, v in viewers.items() if context.launch_configurations[name] == 'true']
    masks = camera_nodes(context, 'segmentation_node', ('model',))
    return [*masks, *(action for viewer in wanted for action in viewer(context))]


def rviz(context):
    """Return RViz, with the configured topics changed to those of the first camera."""
    camera = absolute_namespace(context.launch_configurations, cameras(context)[0])
    text = Path(config_file('segmentation.rviz').perform(context)).read_text(encoding='utf-8')
    with tempfile.NamedTemporaryFile('w', suffix='.rviz', delete=False) as file:
        file.write(text.replace(CONFIGURED_CAMERA, f'{camera}/'))
    return optional_node(
        'rviz2', arguments=['-d', file.name], parameters=viewer_parameters(context)
    )


def foxglove(context):
    """Return foxglove_bridge, bound to this machine; by default it listens on all interfaces."""
    parameters = [{'address': '127.0.0.1'}, *viewer_parameters(context)]
    return optional_node('foxglove_bridge', parameters=parameters)


def viewer_parameters(context):
    """Return the parameters that viewers share with the nodes: `use_sim_time`, if given."""
    clock = given(context.launch_configurations, ('use_sim_time',))
    return [clock] if clock else []
