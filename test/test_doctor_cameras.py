"""`doctor` reports implausible camera calibrations, from live topics or in a bag."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner

from drive_segment_ros import cli, doctor, doctor_cameras
from drive_segment_ros.ros.bag_storage import default_type_store

KIND = 'sensor_msgs/msg/CameraInfo'
K = np.array([700.0, 0.0, 640.0, 0.0, 700.0, 360.0, 0.0, 0.0, 1.0])


def info(scale: float) -> bytes:
    store = default_type_store()
    types = store.types
    stamp = types['builtin_interfaces/msg/Time'](sec=1, nanosec=0)
    message = types[KIND](
        header=types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'),
        height=720,
        width=1280,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=np.append(K[:8] * scale, 1.0),
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )
    return bytes(store.serialize_cdr(message, KIND))


def test_cameras_of_a_bag_are_looked_at(tmp_path, monkeypatch):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, scale in (('/good', 1.0), ('/doubled', 2.0), ('/tiny', 1e-300)):
            name = f'{topic}/camera_info'
            connection = writer.add_connection(name, KIND, typestore=default_type_store())
            writer.write(connection, 1, info(scale))
    monkeypatch.setattr(doctor, 'diagnose', list)
    result = CliRunner().invoke(cli.app, ['doctor', str(tmp_path / 'bag'), '--json'])
    assert result.exit_code == 1
    checks = {check['name']: check for check in json.loads(result.stdout)['checks']}
    assert {name: check['status'] for name, check in checks.items()} == {
        '/good/camera_info': 'ok',
        '/doubled/camera_info': 'hint',
        '/tiny/camera_info': 'problem',
    }
    assert 'as if K were for about 2.00 times' in checks['/doubled/camera_info']['detail']
    assert 'focal lengths in K are 7e-298' in checks['/tiny/camera_info']['detail']


def test_cameras_on_the_air_are_looked_at(ros_domain):
    rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    from sensor_msgs.msg import CameraInfo

    assert doctor_cameras.check_heard(listen_s=0.5) == []
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('camera', context=context)
    publisher = node.create_publisher(CameraInfo, '/front/camera_info', 1)
    message = CameraInfo(width=1280, height=720, k=np.append(K[:8] / 2, 1.0))
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.05):
            publisher.publish(message)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        (check,) = doctor_cameras.check_heard(listen_s=60.0)
    finally:
        stop.set()
        thread.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert (check.name, check.status) == ('/front/camera_info', 'hint')
    assert 'as if K were for about 0.50 times' in check.detail


def test_cameras_recorded_apart_are_looked_at_together(tmp_path, monkeypatch):
    for name in ('left', 'right'):
        with Writer(tmp_path / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            topic = f'/{name}/camera_info'
            connection = writer.add_connection(topic, KIND, typestore=default_type_store())
            writer.write(connection, 1, info(1.0))
    monkeypatch.setattr(doctor, 'diagnose', list)
    bags = [str(tmp_path / 'left'), str(tmp_path / 'right')]
    refused = CliRunner().invoke(cli.app, ['doctor', *bags, '--json'])
    assert refused.exit_code == 1
    assert '--join makes them parts of one drive' in refused.stderr
    result = CliRunner().invoke(cli.app, ['doctor', *bags, '--join', '--json'])
    checks = json.loads(result.stdout)['checks']
    assert {check['name'] for check in checks} == {'/left/camera_info', '/right/camera_info'}
