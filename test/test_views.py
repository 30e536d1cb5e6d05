"""The views for RViz and Foxglove show only topics that are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.nodes.mask_outputs import TOPICS
from drive_segment_ros.nodes.painted_cloud import POINTS_TOPIC

CONFIG = Path(__file__).resolve().parent.parent / 'config'
PUBLISHED = {'/diagnostics', *(f'/camera/{topic}' for topic in (*TOPICS, POINTS_TOPIC))}


def strings(value):
    """Yield every string in nested lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@pytest.mark.parametrize(
    ('file', 'read'), [('segmentation.rviz', yaml.safe_load), ('foxglove_layout.json', json.loads)]
)
def test_every_topic_shown_is_published(file, read):
    content = read((CONFIG / file).read_text(encoding='utf-8'))
    shown = {text for text in strings(content) if text.startswith('/')}
    assert shown <= PUBLISHED
    assert {f'/camera/{POINTS_TOPIC}', '/camera/segmentation/color/image_raw'} <= shown
    # Viewers show the labels of a mono8 mask as a nearly black image.
    assert not any('/label/' in topic for topic in shown)


def test_every_foxglove_panel_has_its_place():
    content = json.loads((CONFIG / 'foxglove_layout.json').read_text(encoding='utf-8'))
    assert set(content['configById']) <= set(strings(content['layout']))
