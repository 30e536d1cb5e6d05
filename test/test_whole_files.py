"""Atomic writes: a file is replaced completely or not at all, and nothing else is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from drive_segment_ros.whole_files import write_whole


def test_a_file_is_written_with_its_folder_and_anybody_may_read_it(tmp_path: Path) -> None:
    write_whole(tmp_path / 'new/file', b'content')

    assert (tmp_path / 'new/file').read_bytes() == b'content'
    assert stat.S_IMODE((tmp_path / 'new/file').stat().st_mode) == 0o644
    assert os.listdir(tmp_path / 'new') == ['file']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    (tmp_path / 'file').write_bytes(b'old')

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_whole(tmp_path / 'file', b'new')

    assert (tmp_path / 'file').read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_two_who_write_one_file_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def after_another(source: str, target: Path) -> None:
        monkeypatch.setattr(os, 'replace', replace)
        write_whole(target, b'of another')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', after_another)
    write_whole(tmp_path / 'file', b'mine')

    assert (tmp_path / 'file').read_bytes() == b'mine'
    assert os.listdir(tmp_path) == ['file']
