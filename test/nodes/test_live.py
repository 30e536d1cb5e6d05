from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.errors import DriveSegmentError, ParameterError
from drive_segment_ros.nodes.live import LiveOptions, live, status_line


def test_options_become_ros_arguments(tmp_path):
    file = tmp_path / 'file.yaml'
    file.touch()
    options = LiveOptions('proposals', file, file, ('camera/front',), ('points:=/lidar/points',))
    assert options.ros_arguments() == [
        '--ros-args', '--params-file', str(file), '-p', f'calibration_file:={file}',
        '-r', '__ns:=/camera/front', '-r', 'points:=/lidar/points',
    ]  # fmt: skip


def test_several_cameras_are_a_rig_of_one_node_or_a_node_each():
    cameras = ('/camera/front', 'camera/left')
    rig = LiveOptions('recorder', cameras=cameras)
    assert rig.ros_arguments()[1:] == ['-p', 'cameras:=[/camera/front, /camera/left]']
    assert rig.nodes() == [{}]
    masks = LiveOptions('segmentation', cameras=cameras)
    assert masks.ros_arguments() == ['--ros-args']
    assert [node['namespace'] for node in masks.nodes()] == ['/camera/front', '/camera/left']


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (LiveOptions(cameras=('front', '/front')), 'a camera is given twice: /front, /front'),
        (LiveOptions(params_file=Path('/no/params.yaml')), '/no/params.yaml: no such file'),
        (LiveOptions(remappings=('points',)), "'points' is not of the form from:=to"),
        (LiveOptions(node='dream'), "unknown node 'dream'; there are: proposals"),
        (LiveOptions('segmentation', cameras=('front-left', 'b')), r"Invalid .*'/front-left'$"),
        (LiveOptions(assignments=('use_sim_time=1',)), "'use_sim_time' to '1' of type 'INTEGER'"),
    ],
)
def test_mistakes_are_named(ros_domain, options, words):
    with pytest.raises(ParameterError, match=words):
        live(options)


def test_parameter_file_reaches_the_node_and_the_summary_comes_back(ros_domain, tmp_path):
    params = tmp_path / 'params.yaml'
    params.write_text('/**: {ros__parameters: {pipeline: {queue: 7}}}')
    nodes = []
    stop = threading.Event()
    stop.set()
    summary = live(LiveOptions(params_file=params), nodes.append, stop)
    assert nodes[0].parameters.pipeline.queue == 7
    assert (summary['pairs'], summary['frames'], summary['dropped']) == (0, 0, {})


def test_a_second_signal_does_not_cut_short_what_is_written_at_the_end(
    ros_domain, tmp_path, monkeypatch
):
    from drive_segment_ros.nodes.proposals_node import ProposalsNode

    before, at_the_end = signal.getsignal(signal.SIGTERM), []
    summary, destroy = ProposalsNode.summary, ProposalsNode.destroy_node

    def terminate_and(call):
        def changed(node):
            os.kill(os.getpid(), signal.SIGTERM)
            return call(node)

        return changed

    def destroy_node(node):
        destroy(node)
        at_the_end.append(True)

    # Signals arrive while it runs and while it ends; one not caught would end this process.
    monkeypatch.setattr(ProposalsNode, 'summary', terminate_and(summary))
    monkeypatch.setattr(ProposalsNode, 'destroy_node', terminate_and(destroy_node))
    live(LiveOptions('proposals', duration_s=60.0))
    assert at_the_end == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_node_that_is_left_while_it_loads_keeps_its_context(ros_domain, monkeypatch):
    from drive_segment_ros.nodes.proposals_node import ProposalsNode

    nodes: list[ProposalsNode] = []
    done = threading.Event()

    def configure(node):
        os.kill(os.getpid(), signal.SIGINT)
        assert done.wait(60.0)

    monkeypatch.setattr(ProposalsNode, 'configure', configure)
    with pytest.raises(KeyboardInterrupt):
        live(LiveOptions('proposals'), nodes.append)
    done.set()
    for thread in threading.enumerate():
        if thread.name == 'executor':
            thread.join(60.0)
    (node,) = nodes
    # When loaded, the node publishes its transition, which needs a valid context.
    assert node.context.ok()
    assert node.state == 'inactive'
    node.destroy_node()
    node.context.shutdown()


def test_segmentation_node_takes_its_model_from_the_options(ros_domain, model_folder, tmp_path):
    stop = threading.Event()
    stop.set()
    summary = live(LiveOptions('segmentation', model=model_folder), stop=stop)
    assert (summary['frames'], summary['dropped']) == (0, {})
    assert len(summary['model_sha256']) == 64
    assert status_line({**summary, 'received': {'image': 2}}) == 'image 2 · frames 0'
    with pytest.raises(DriveSegmentError, match='not an exported model'):
        live(LiveOptions('segmentation', model=tmp_path), stop=stop)


def test_masks_of_several_cameras_run_in_one_process(ros_domain, model_folder):
    stop = threading.Event()
    stop.set()
    names = []
    options = LiveOptions('segmentation', cameras=('front', 'left'), model=model_folder)
    summary = live(options, lambda node: names.append(node.hardware_id()), stop)
    assert names == ['/front/image_raw', '/left/image_raw']
    assert list(summary['cameras']) == ['/front', '/left']
    assert summary['cameras']['/left']['frames'] == 0


def test_parameter_out_of_range_is_one_line(ros_domain, tmp_path):
    params = tmp_path / 'params.yaml'
    params.write_text('/**: {ros__parameters: {pipeline: {queue: 0}}}')
    with pytest.raises(ParameterError, match=r'pipeline\.queue') as error:
        live(LiveOptions(params_file=params))
    assert '\n' not in str(error.value)


def test_refused_activation_says_why(ros_domain, tmp_path):
    broken = tmp_path / 'calibration.yaml'
    broken.write_text('nothing: here')
    with pytest.raises(DriveSegmentError, match='neither transforms nor cameras'):
        live(LiveOptions(calibration_file=broken))


def test_a_recorder_that_was_never_active_says_why(ros_domain, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.frame.warm_up.warm_up', lambda parameters: None)
    with pytest.raises(DriveSegmentError, match='parameter dataset is empty'):
        live(LiveOptions('recorder'))


def test_status_line_names_what_is_lost():
    summary = {
        'received': {'image': 5},
        'frames': 3,
        'rate_hz': 9.9,
        'latency_median_ms': 40.0,
        'latency_p95_ms': 80.0,
        'dropped': {'bad_cloud': 2},
    }
    line = status_line(summary)
    assert line == (
        'image 5 · frames 3 · 9.9 Hz · latency 40.0 / 80.0 ms (median/p95) · lost 2 bad_cloud'
    )


def test_parameter_file_that_is_no_yaml_is_one_line(ros_domain, tmp_path):
    params = tmp_path / 'params.yaml'
    params.write_text('a: [')
    with pytest.raises(ParameterError, match=str(params)) as error:
        live(LiveOptions(params_file=params))
    assert '\n' not in str(error.value)
