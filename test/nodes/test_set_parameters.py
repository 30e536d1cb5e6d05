"""Parameters set over the service, as by `ros2 param`, in every lifecycle state."""

from __future__ import annotations

import shutil
import threading

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from drive_segment_ros.nodes.segmentation_node import SegmentationNode  # noqa: E402

SUCCESS = TransitionCallbackReturn.SUCCESS


class Rig:
    """A segmentation node, and a client of its parameter service."""

    def __init__(self, model) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        given = {'model': str(model), 'backend': 'onnxruntime', 'threads': 1}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        self.node = SegmentationNode(context=self._context, parameter_overrides=overrides)
        other = self._other = rclpy.create_node('other', context=self._context)
        self._client = other.create_client(SetParameters, '/segmentation_node/set_parameters')
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._executor.add_node(other)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        assert self._client.wait_for_service(60.0)

    def set(self, *parameters: Parameter) -> list[str]:
        """Set parameters; return the name of each that was refused, and the reason."""
        messages = [parameter.to_parameter_msg() for parameter in parameters]
        answer = self._client.call(SetParameters.Request(parameters=messages))
        return [
            f'{parameter.name}: {result.reason}'
            for parameter, result in zip(parameters, answer.results, strict=True)
            if not result.successful
        ]

    def change(self, transition: str) -> TransitionCallbackReturn:
        """Run a transition on the executor's thread, which waits on the entities it destroys."""
        done = threading.Event()
        task = self._executor.create_task(getattr(self.node, f'trigger_{transition}'))
        task.add_done_callback(lambda _: done.set())
        assert done.wait(60.0)
        return task.result()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.trigger_shutdown()
        self.node.destroy_node()
        self._other.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def rig(ros_domain, model_folder):
    pytest.importorskip('onnxruntime')
    rig = Rig(model_folder)
    yield rig
    rig.close()


def test_parameters_as_they_are_may_be_set_in_any_state_and_a_model_is_swapped(
    rig, model_folder, tmp_path
):
    node = rig.node
    other = shutil.copytree(model_folder, tmp_path / 'other')
    swap = Parameter('model', value=str(other))

    def dump() -> list[Parameter]:
        return node.get_parameters(node.list_parameters([], 0).names)

    assert {'use_sim_time', 'model', 'sync.camera_offset'} <= {p.name for p in dump()}
    # As `ros2 param load` sets the output of `ros2 param dump`.
    assert rig.set(*dump()) == []
    assert rig.change('configure') == SUCCESS
    assert rig.set(*dump()) == []
    assert rig.change('activate') == SUCCESS
    assert rig.set(*dump()) == []

    (refused,) = rig.set(swap, Parameter('confidence_threshold', value=0.25))
    assert refused == (
        'model: model cannot change while the node is active; deactivate it and clean it up first'
    )
    assert node.parameters.confidence_threshold == 0.25
    assert rig.change('deactivate') == SUCCESS
    assert 'clean it up first' in rig.set(swap)[0]
    assert rig.change('cleanup') == SUCCESS
    assert rig.set(swap, Parameter('sync.max_offset_s', value=0.03)) == []
    assert rig.change('configure') == SUCCESS
    assert node.diagnostic_parts()['model']().values['folder'] == str(other)
    assert node.parameters.sync.max_offset_s == 0.03
