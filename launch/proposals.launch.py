"""Object proposals from one LiDAR, shown in one camera's image.

ros2 launch drive_segment_ros proposals.launch.py camera:=/camera/front lidar:=/lidar/points
"""

from launch import LaunchDescription

from drive_segment_ros.ros.launching import sensor_arguments, sensor_node


def generate_launch_description():
    """Return the node, its autostart, and a bag player where a bag is given."""
    return LaunchDescription([*sensor_arguments('proposals.yaml'), *sensor_node('proposals_node')])
