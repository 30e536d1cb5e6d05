"""`frames.jsonl`: torn lines, repair and the lock."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_segment_ros.dataset.index import IndexWriter, parse_index
from drive_segment_ros.errors import DatasetError

LINES = b'{"stamp_ns": 1}\n{"stamp_ns": 2}\n{"stamp_ns": 30}\n'


@given(st.integers(0, len(LINES)))
def test_any_cut_keeps_every_whole_line(cut):
    index = parse_index(LINES[:cut], 'frames.jsonl')
    assert len(index.records) == LINES[:cut].count(b'\n')
    assert index.complete_bytes == LINES[:cut].rfind(b'\n') + 1
    assert index.torn == (index.complete_bytes != cut)


def test_zeros_of_a_lost_block_at_the_end_are_torn():
    index = parse_index(LINES + b'\0' * 100, 'frames.jsonl')
    assert [record['stamp_ns'] for record in index.records] == [1, 2, 30]
    assert index.torn


def test_a_broken_line_in_the_middle_is_named():
    with pytest.raises(DatasetError, match=r'frames\.jsonl: line 2 is not a frame'):
        parse_index(b'{"stamp_ns": 1}\nrubbish\n{"stamp_ns": 2}\n', 'frames.jsonl')


def test_opening_repairs_and_appending_goes_on(tmp_path):
    path = tmp_path / 'frames.jsonl'
    path.write_bytes(LINES + b'{"stamp_')
    writer = IndexWriter(path)
    assert writer.repaired
    writer.append({'stamp_ns': 4})
    writer.close()
    assert path.read_bytes() == LINES + b'{"stamp_ns": 4}\n'


def test_lock_keeps_a_second_writer_out_and_dies_with_its_process(tmp_path):
    path = tmp_path / 'frames.jsonl'
    code = (
        'import sys, pathlib; from drive_segment_ros.dataset.index import IndexWriter\n'
        'writer = IndexWriter(pathlib.Path(sys.argv[1])); print("locked", flush=True)\n'
        'sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == 'locked\n'
        with pytest.raises(DatasetError, match='another process is writing this drive'):
            IndexWriter(path)
        holder.kill()
    IndexWriter(path).close()
