"""Object proposals from one LiDAR, shown in one camera's image.

ros2 launch drive_segment_ros proposals.launch.py camera:=/camera/front lidar:=/lidar/points
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
    PythonExpression,
)
from launch_ros.actions import LifecycleNode, PushRosNamespace
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare
from lifecycle_msgs.msg import Transition

PACKAGE = 'drive_segment_ros'


def generate_launch_description():
    """Return the node, its autostart, and a bag player where a bag is given."""
    default_params = PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', 'proposals.yaml'])
    arguments = [
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
    node = LifecycleNode(
        package=PACKAGE,
        executable='proposals_node',
        name='proposals_node',
        namespace=LaunchConfiguration('camera'),
        parameters=[
            LaunchConfiguration('params_file'),
            {
                'use_sim_time': LaunchConfiguration('use_sim_time'),
                'calibration_file': LaunchConfiguration('calibration_file'),
            },
        ],
        remappings=[
            ('points', LaunchConfiguration('lidar')),
            ('odom', LaunchConfiguration('odometry')),
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    return LaunchDescription(
        [
            *arguments,
            # Clouds and images of megabytes: see "Messages and DDS" in the documentation.
            SetEnvironmentVariable(
                'FASTDDS_BUILTIN_TRANSPORTS',
                EnvironmentVariable('FASTDDS_BUILTIN_TRANSPORTS', default_value='LARGE_DATA'),
            ),
            PushRosNamespace(LaunchConfiguration('namespace')),
            node,
            *autostart(node),
            bag_player(),
        ]
    )


def autostart(node):
    """Return the actions that take a lifecycle node to active once it is up."""
    condition = IfCondition(LaunchConfiguration('autostart'))

    def change(transition):
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


def bag_player():
    """Return the process that plays `bagfile:=`, with /clock for those who use it."""
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
