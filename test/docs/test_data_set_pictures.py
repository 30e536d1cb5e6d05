"""The pictures of data sets on the page: present, small, and as drawn by the tool."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/make_data_set_pictures.py'
    spec = importlib.util.spec_from_file_location('make_data_set_pictures', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_set_has_a_small_picture_on_the_page(tool):
    page = (ROOT / 'docs/data_sets.md').read_text(encoding='utf-8')
    for name in tool.SETS:
        file = ROOT / f'docs/images/data_set_{name}.jpg'
        assert f'(images/{file.name})' in page
        assert file.stat().st_size < 60_000


def test_a_picture_is_what_the_tool_draws(tool, tmp_path):
    # To regenerate them: python tools/make_data_set_pictures.py
    quality = [cv2.IMWRITE_JPEG_QUALITY, tool.QUALITY]
    _, encoded = cv2.imencode('.jpg', tool.picture('kitti-raw', tmp_path), quality)
    drawn = cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(int)
    shown = cv2.imread(str(ROOT / 'docs/images/data_set_kitti-raw.jpg')).astype(int)
    assert np.abs(drawn - shown).mean() < 1.0
