from __future__ import annotations

import importlib
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / 'config'


@pytest.mark.parametrize(
    ('file', 'module', 'parameters'),
    [
        ('proposals.yaml', 'proposals_node', 'ProposalsParameters'),
        ('recorder.yaml', 'pseudo_label_recorder_node', 'RecorderNodeParameters'),
        ('segmentation.yaml', 'segmentation_parameters', 'SegmentationParameters'),
    ],
)
def test_configuration_file_is_what_the_parameters_say(file, module, parameters):
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    from drive_segment_ros.ros.node_parameters import yaml_for

    cls = getattr(importlib.import_module(f'drive_segment_ros.nodes.{module}'), parameters)
    # To regenerate it: (CONFIG / file).write_text(yaml_for(cls, '/**'))
    assert (CONFIG / file).read_text(encoding='utf-8') == yaml_for(cls, '/**')
