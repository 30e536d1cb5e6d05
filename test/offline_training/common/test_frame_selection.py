"""The selection of frames, FIRST:LAST."""

from __future__ import annotations

import pytest

from drive_segment_ros.errors import ParameterError
from offline_training.common.frame_selection import parse_slice


@pytest.mark.parametrize('text', ['3', '1:2:3', 'a:b', '²:', '9' * 5000 + ':'])
def test_what_is_no_range_is_one_line(text):
    with pytest.raises(ParameterError, match='FIRST:LAST') as error:
        parse_slice(text)
    assert '\n' not in str(error.value)
