"""Object proposals from one LiDAR, shown in one camera's image.

ros2 launch drive_segment_ros proposals.launch.py camera:=/camera/front lidar:=/lidar/points
"""

from drive_segment_ros.ros.launch_arguments import description, sensor_arguments
from drive_segment_ros.ros.launching import camera_nodes


def generate_launch_description():
    """Return the node, its autostart, and a bag player where a bag is given."""
    return description(sensor_arguments('proposals.yaml'), nodes)


def nodes(context):
    """Return the camera's node and what starts it."""
    return camera_nodes(context, 'proposals_node', [context.launch_configurations['camera']])
