"""Camera names follow from topic namespaces; they are unique and valid folder names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_segment_ros.dataset.own_files import is_camera_name
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
        (['/parts/image', '/protected/image'], ['camera_parts', 'camera_protected']),
        (['/../image', '/a b/image'], ['__', 'a_b']),
    ],
)
def test_names(topics, names):
    assert camera_names(topics) == dict(zip(topics, names, strict=True))
    assert camera_names(reversed(topics)) == dict(zip(topics, names, strict=True))


TOPIC = st.text('ab./_', max_size=12) | st.sampled_from(['/parts/image', '/proposal/image'])


@given(st.lists(TOPIC, unique=True, max_size=8))
def test_any_topics_have_different_names_that_are_folders(topics):
    names = camera_names(topics)
    assert set(names) == set(topics)
    assert len(set(names.values())) == len(topics)
    assert all(map(is_camera_name, names.values()))
