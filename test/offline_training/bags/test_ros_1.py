"""A ROS 1 bag gives the same results as the ROS 2 bag of the same drive."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.frame.parameters import FrameParameters
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.evaluation.image_sources import image_parts, is_bag


def files(drive: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(drive)): path.read_bytes()
        for path in drive.rglob('*')
        if path.is_file() and path.name != 'drive.json'
    }


@pytest.mark.parametrize('compression', ['', 'bz2', 'lz4'])
def test_extract_writes_the_same_bytes(
    make_bag, tmp_path: Path, as_ros_1: Callable[..., Path], compression: str
) -> None:
    bag = make_bag()
    old = as_ros_1(bag, tmp_path / 'old.bag', compression)
    options = ExtractOptions(workers=1)
    for source in (bag, old):
        report = extract([source], tmp_path / 'dataset', FrameParameters(), options)
        assert (report.frames, dict(report.dropped), report.damage) == (4, {}, [])
    written = files(tmp_path / 'dataset/old')
    assert len(written) > 8
    assert written == files(tmp_path / 'dataset' / bag.name)


def test_inspect_says_the_same(make_bag, tmp_path: Path, as_ros_1: Callable[..., Path]) -> None:
    bag = make_bag()
    old = as_ros_1(bag, tmp_path / 'old.bag')
    told = []
    for source in (bag, old):
        result = CliRunner().invoke(cli.app, ['inspect', str(source), '--json'])
        assert result.exit_code == 0, result.stderr
        told.append(json.loads(result.stdout.replace(str(source), 'BAG')))
    assert told[0] == told[1]


def test_segment_finds_its_images(make_bag, tmp_path: Path, as_ros_1: Callable[..., Path]) -> None:
    bag = make_bag()
    old = as_ros_1(bag, tmp_path / 'old.bag')
    (tmp_path / 'folder').mkdir()
    old.rename(tmp_path / 'folder/old.bag')
    assert is_bag(tmp_path / 'folder')
    assert is_bag(tmp_path / 'folder/old.bag')
    images, old_images = (
        {
            name: image.tobytes()
            for part in image_parts(source)
            for name, image in part.images([], lambda name: True)
        }
        for source in (bag, tmp_path / 'folder')
    )
    assert images == old_images
    assert len(images) == 4
