"""What needs no launch_ros; the rest is in test_launch.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from drive_segment_ros import doctor
from drive_segment_ros.ros.launching import camera_nodes, environment


def test_processes_get_the_transport_that_the_doctor_wants(monkeypatch):
    monkeypatch.delenv('FASTDDS_BUILTIN_TRANSPORTS', raising=False)
    assert doctor.check_transport(environment()).status == 'ok'
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    assert environment() == {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'cameras': 'front,/front'}, 'give each camera once'),
        ({'cameras': 'front,front/'}, 'give each camera once'),
        ({'cameras': 'front,rear', 'image': '/image'}, 'each camera of a rig has its own'),
    ],
)
def test_nodes_of_one_name_or_of_one_image_are_refused(arguments, words):
    defaults = {'camera': 'camera', 'image': 'image_raw'}
    context = SimpleNamespace(launch_configurations={**defaults, **arguments})
    with pytest.raises(RuntimeError, match=words):
        camera_nodes(context, 'segmentation_node')
