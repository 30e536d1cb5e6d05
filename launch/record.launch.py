r"""Launch the recorder node for one LiDAR and one or more cameras, to record a dataset live.

ros2 launch drive_segment_ros record.launch.py dataset:=/data/drives camera:=/camera/front \
    lidar:=/lidar/points
ros2 launch drive_segment_ros record.launch.py dataset:=/data/drives \
    cameras:=/camera/front,/camera/front_left,/camera/front_right lidar:=/lidar/points
"""

from launch.actions import DeclareLaunchArgument

from drive_segment_ros.ros.launch_arguments import description, parameter_flag, sensor_arguments
from drive_segment_ros.ros.launching import rig_node


def generate_launch_description():
    """Return the arguments, and the node with its autostart and optional bag player."""
    arguments = [
        DeclareLaunchArgument(
            'dataset',
            description='Folder for the drives; its parent folder must exist.',
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='Exported model whose predictions are recorded too. '
            'Empty: as in params_file.',
        ),
        parameter_flag('start', 'Record at once; otherwise when the service `start` is called.'),
        *sensor_arguments('recorder.yaml'),
    ]
    return description(arguments, nodes)


def nodes(context):
    """Return the actions that start the node, and the bag player if a bag is given."""
    return rig_node(context, 'pseudo_label_recorder_node', ('dataset', 'model', 'start'))
