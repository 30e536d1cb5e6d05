r"""Object proposals from one LiDAR, shown in the images of one or more cameras.

ros2 launch drive_segment_ros proposals.launch.py camera:=/camera/front lidar:=/lidar/points
ros2 launch drive_segment_ros proposals.launch.py cameras:=/camera/left,/camera/right \
    lidar:=/lidar/points
"""

from drive_segment_ros.ros.launch_arguments import description, sensor_arguments
from drive_segment_ros.ros.launching import rig_node


def generate_launch_description():
    """Return the node, its autostart, and a bag player where a bag is given."""
    return description(sensor_arguments('proposals.yaml'), nodes)


def nodes(context):
    """Return the node and what starts it."""
    return rig_node(context, 'proposals_node')
