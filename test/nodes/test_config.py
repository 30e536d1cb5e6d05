from __future__ import annotations

from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / 'config'


def test_configuration_file_is_what_the_parameters_say():
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    from drive_segment_ros.nodes.frame_node import FrameNodeParameters
    from drive_segment_ros.ros.node_parameters import yaml_for

    # To renew it: (CONFIG / 'proposals.yaml').write_text(yaml_for(FrameNodeParameters, '/**'))
    expected = yaml_for(FrameNodeParameters, '/**')
    assert (CONFIG / 'proposals.yaml').read_text(encoding='utf-8') == expected
