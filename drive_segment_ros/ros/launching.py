"""The nodes that the package's launch files start; needs `launch_ros`, which comes with ROS 2."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from drive_segment_ros.frame.rig import TRANSPORT_SUFFIXES
from drive_segment_ros.ros.launch_arguments import PACKAGE, given


def camera_nodes(context: Any, name: str, parameters: Sequence[str] = ()) -> list[Any]:
    """Return the actions that start a node in each camera's namespace, and then the bag player.

    Args:
        context: the launch context, which has the arguments.
        name: of the executable and the nodes.
        parameters: further parameters that are arguments as well.

    Raises:
        RuntimeError: if a file that was named is not there, or all cameras would have one image.
    """
    arguments = context.launch_configurations
    set_here = given(arguments, parameters)
    names = cameras(context)
    if len(names) > 1:
        _refuse_one_image(arguments['image'])
    nodes = [_camera_node(arguments, name, camera, set_here) for camera in names]
    return _started(arguments, nodes)


def rig_node(context: Any, name: str, parameters: Sequence[str] = ()) -> list[Any]:
    """Return the actions that start one node for all cameras, and then the bag player.

    With several cameras it is in the vehicle's namespace, and has theirs as a parameter.

    Args:
        context, name, parameters: as of `camera_nodes`.

    Raises:
        RuntimeError: if a file that was named is not there, or all cameras would have one image.
    """
    arguments = context.launch_configurations
    set_here = given(arguments, parameters)
    if arguments.get('cameras'):
        node = _rig_node(arguments, name, cameras(context), set_here)
    else:
        node = _camera_node(arguments, name, arguments['camera'], set_here)
    return _started(arguments, [node])


def cameras(context: Any) -> list[str]:
    """Return the namespaces in `cameras:=`, else that in `camera:=`.

    Raises:
        RuntimeError: if there is none, or one twice.
    """
    arguments = context.launch_configurations
    text = arguments.get('cameras') or arguments['camera']
    names = [name.strip() for name in text.split(',') if name.strip()]
    if not names or len({absolute_namespace(arguments, name) for name in names}) < len(names):
        raise RuntimeError(f'cameras:={text!r}: give each camera once, separated by commas')
    return names


def _started(arguments: Mapping[str, str], nodes: Sequence[Any]) -> list[Any]:
    """Return nodes with the actions that start and monitor them, and the bag player."""
    start, required = (arguments.get(k) == 'true' for k in ('autostart', 'required'))
    actions = [
        action
        for node in nodes
        for action in (
            node,
            *(_failure_handlers(node) if required else ()),
            *(_autostart(node) if start else ()),
        )
    ]
    bag = arguments.get('bagfile', '')
    return [*actions, *_bag_player(bag, nodes)] if bag else actions


def existing_file(path: str, argument: str) -> str:
    """Return the path of a file named in an argument, `~` expanded.

    Raises:
        RuntimeError: if there is no such file; launch_ros would start the node without it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise RuntimeError(f'{argument}:={path}: no such file')
    return str(file)


def absolute_namespace(arguments: Mapping[str, str], camera: str) -> str:
    """Return a camera's whole namespace, such as `/car/front`.

    Args:
        arguments: the launch context's configurations; `ros_namespace` is that of groups around.
        camera: as in `camera:=`; absolute if it starts with /.
    """
    if camera.startswith('/'):
        return camera.rstrip('/')
    parts: tuple[str, ...] = (
        arguments.get('ros_namespace', ''),
        arguments.get('namespace', ''),
        camera,
    )
    if parts[1].startswith('/'):
        parts = parts[1:]
    return '/' + '/'.join(part.strip('/') for part in parts if part.strip('/'))


def environment() -> dict[str, str]:
    """Return the environment of the processes: a transport for large messages.

    Clouds and images are megabytes: see "Messages and DDS" in the documentation.
    """
    name = 'FASTDDS_BUILTIN_TRANSPORTS'
    return {name: os.environ.get(name, 'LARGE_DATA')}


def optional_node(package: str, **settings: Any) -> list[Any]:
    """Return a viewer's node, or a log line if its package is missing.

    Args:
        package: of the viewer; its executable has the same name.
        settings: of `launch_ros.actions.Node`.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    from launch.actions import LogInfo
    from launch_ros.actions import Node

    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        debian = package.replace('_', '-')
        line = f'{package} is not installed and not started: apt install ros-$ROS_DISTRO-{debian}'
        return [LogInfo(msg=line)]
    return [
        Node(
            package=package,
            executable=package,
            output='screen',
            additional_env=environment(),
            **settings,
        )
    ]


def _refuse_one_image(image: str) -> None:
    if image.startswith('/'):
        raise RuntimeError(
            f'image:={image}: each camera of a rig has its own; give a topic relative to '
            "a camera's namespace, or remap"
        )


def _camera_node(
    arguments: Mapping[str, str], name: str, camera: str, set_here: Mapping[str, Any]
) -> Any:
    image = arguments['image']
    images = [(f'image_raw{t}', f'{image}{t}') for t in ('', *TRANSPORT_SUFFIXES)]
    return _node(arguments, name, absolute_namespace(arguments, camera), images, set_here)


def _rig_node(
    arguments: Mapping[str, str], name: str, cameras: Sequence[str], set_here: Mapping[str, Any]
) -> Any:
    image = arguments['image']
    _refuse_one_image(image)
    images = [
        (f'{camera.rstrip("/")}/image_raw{transport}', f'{camera.rstrip("/")}/{image}{transport}')
        for camera in (cameras if image != 'image_raw' else ())
        for transport in ('', *TRANSPORT_SUFFIXES)
    ]
    set_here = {**set_here, 'cameras': list(cameras)}
    return _node(arguments, name, absolute_namespace(arguments, ''), images, set_here)


def _node(
    arguments: Mapping[str, str],
    name: str,
    namespace: str,
    images: Sequence[tuple[str, str]],
    set_here: Mapping[str, Any],
) -> Any:
    from launch_ros.actions import LifecycleNode

    params_file = existing_file(arguments['params_file'], 'params_file')
    set_here = {**given(arguments, ('use_sim_time', 'calibration_file')), **set_here}
    logger = '.'.join([*filter(None, namespace.split('/')), name])
    return LifecycleNode(
        package=PACKAGE,
        executable=name,
        name=name,
        namespace=namespace or '/',
        parameters=[params_file, *([set_here] if set_here else [])],
        remappings=[
            ('points', arguments['lidar']),
            ('odom', arguments['odometry']),
            *images,
        ],
        arguments=['--ros-args', '--log-level', f'{logger}:={arguments["log_level"]}'],
        additional_env=environment(),
        output='screen',
    )


def _autostart(node: Any) -> list[Any]:
    """Return the actions that take a lifecycle node to active once it is up."""
    from launch.actions import EmitEvent
    from launch.events import matches_action
    from launch_ros.events.lifecycle import ChangeState
    from lifecycle_msgs.msg import Transition

    def change(transition: int) -> Any:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(node), transition_id=transition
            )
        )

    first = [change(Transition.TRANSITION_ACTIVATE)]

    def activate_once(_: Any) -> list[Any]:
        # Not activated again after a manual configuration.
        return [first.pop()] if first else []

    return [
        _on_state(node, activate_once, start_state='configuring', goal_state='inactive'),
        change(Transition.TRANSITION_CONFIGURE),
    ]


def _failure_handlers(node: Any) -> list[Any]:
    """Return the actions that end the launch with an error if a node fails or dies."""
    from launch.actions import OpaqueFunction, RegisterEventHandler
    from launch.event_handlers import OnProcessExit

    def refused(_: Any) -> list[Any]:
        raise RuntimeError(f'{node.node_name} cannot be configured; see its error above')

    def ended(event: Any, context: Any) -> list[Any]:
        if event.returncode == 0 or context.is_shutdown:
            return []

        def died(_: Any) -> list[Any]:
            raise RuntimeError(f'{node.node_name} died with exit code {event.returncode}')

        return [OpaqueFunction(function=died)]

    return [
        _on_state(node, refused, start_state='configuring', goal_state='unconfigured'),
        _on_state(node, refused, start_state='activating', goal_state='inactive'),
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=ended)),
    ]


def _bag_player(bag: str, nodes: Sequence[Any]) -> list[Any]:
    """Return the actions that play a bag, with /clock, once all nodes are active.

    The first configuration may take a minute, as kernels are compiled.
    """
    from launch.actions import ExecuteProcess
    from launch_ros.substitutions import ExecutableInPackage

    path = Path(bag).expanduser()
    if not path.exists():
        raise RuntimeError(f'bagfile:={bag}: no such bag')
    program = ExecutableInPackage(package=PACKAGE, executable='drive-segment')
    player = ExecuteProcess(
        cmd=[program, 'play', str(path), '--clock'],
        additional_env=environment(),
        output='screen',
    )
    inactive = list(nodes)

    def play_after(node: Any, _: Any) -> list[Any]:
        # Nodes may become active again; the bag is played only once.
        if node not in inactive:
            return []
        inactive.remove(node)
        return [] if inactive else [player]

    return [_on_state(node, partial(play_after, node), goal_state='active') for node in nodes]


def _on_state(node: Any, function: Callable[[Any], list[Any]], **states: str) -> Any:
    """Return the event handler of a function of the context for a node's change of state."""
    from launch.actions import OpaqueFunction, RegisterEventHandler
    from launch_ros.event_handlers import OnStateTransition

    return RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node, entities=[OpaqueFunction(function=function)], **states
        )
    )
