"""Which launch arguments become parameters."""

from __future__ import annotations

from drive_segment_ros.ros.launch_arguments import given


def test_only_arguments_that_were_given_become_parameters():
    arguments = {'start': 'false', 'model': '', 'calibration_file': '/c.yaml', 'camera': 'front'}
    names = ('use_sim_time', 'start', 'model', 'calibration_file')
    assert given(arguments, names) == {'start': False, 'calibration_file': '/c.yaml'}
