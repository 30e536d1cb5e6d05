"""Camera names follow from topic namespaces; they are unique and valid folder names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_segment_ros.frame.rig import camera_names


@pytest.mark.parametrize(
    ('topics', 'names'),
    [
        (['/camera/front/image_raw/compressed', '/camera/back/image_raw'], ['front', 'back']),
        (['/image_raw'], ['camera']),
        (['image_raw/compressed'], ['camera']),
        (
            ['/left/camera/image_raw', '/right/camera/image_raw', '/mono/image_rect'],
            ['left_camera', 'right_camera', 'mono'],
        ),
        (['/a/x/c/image', '/b/x/c/image', '/a/y/c/image'], ['a_x_c', 'b_x_c', 'y_c']),
        (['/cam/image', '/front/cam/image'], ['cam', 'front_cam']),
        (['/cam/image_raw', '/cam/image_rect'], ['cam_image_raw', 'cam_image_rect']),
        (['/x/a_b/image', '/a/b/image', '/c/b/image'], ['x_a_b', 'a_b', 'c_b']),
        (['/proposal/image', '/preview/image'], ['camera_proposal', 'camera_preview']),
        (['/../image', '/a b/image'], ['__', 'a_b']),
    ],
)
def test_names(topics, names):
    assert camera_names(topics) == dict(zip(topics, names, strict=True))
    assert camera_names(reversed(topics)) == dict(zip(topics, names, strict=True))


@given(st.lists(st.text('ab./_', max_size=12), unique=True, max_size=8))
def test_any_topics_have_different_names_that_are_folders(topics):
    names = camera_names(topics)
    assert set(names) == set(topics)
    assert len(set(names.values())) == len(topics)
    assert all(re.fullmatch(r'[\w-]+', name) for name in names.values())
    assert not {'proposal', 'preview'} & set(names.values())
