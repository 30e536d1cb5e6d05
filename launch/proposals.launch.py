r"""Launch the proposals node for one LiDAR and one or more cameras.

ros2 launch drive_segment_ros proposals.launch.py camera:=/camera/front lidar:=/lidar/points
ros2 launch drive_segment_ros proposals.launch.py cameras:=/camera/left,/camera/right \
    lidar:=/lidar/points
"""

from drive_segment_ros.ros.launch_arguments import description, sensor_arguments
from drive_segment_ros.ros.launching import rig_node


def generate_launch_description():
    """Return the arguments, and the node with its autostart and optional bag player."""
    return description(sensor_arguments('proposals.yaml'), nodes)


def nodes(context):
    """Return the actions that start the node, and the bag player if a bag is given."""
    return rig_node(context, 'proposals_node')
