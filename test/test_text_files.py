"""Untrusted JSON and YAML: harmful content is refused, with a one-line error."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.text_files import (
    dump_yaml,
    inside,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
)

# Nine levels of ten aliases each, "billion laughs": 10^9 entries as the name of a class.
LAUGHS = '\n'.join(
    [
        'l0: &l0 [x]',
        *(f'l{n}: &l{n} [{", ".join([f"*l{n - 1}"] * 10)}]' for n in range(1, 10)),
        '0: {name: *l9, color: [1, 2, 3]}',
    ]
)
MERGES = '\n'.join(
    [
        'm0: &m0 {x: 1}',
        *(f'm{n}: &m{n} {{<<: [{", ".join([f"*m{n - 1}"] * 10)}]}}' for n in range(1, 9)),
    ]
)
BAD_YAML = {
    'aliases': LAUGHS,
    'merges': MERGES,
    'itself': '&a [*a]',
    'deep flow': '[' * 5000 + ']' * 5000,
    'deep block': '- ' * 5000 + '1',
    'long number': f'a: {"9" * 5000}',
    'long hexadecimal': f'a: !!int 0x{"f" * 5000}',
    'long sexagesimal': f'a: !!int {":".join(["1"] * 5000)}',
    'no integer': 'a: !!int ""',
    'no truth': 'a: !!bool maybe',
    'no time': 'a: !!timestamp yesterday',
    'a time that is none': '2026-99-99',
    'python': '!!python/object/apply:os.system [ls]',
    'a list as key': '? [1]\n: 2',
    'NUL': 'a: "b"\0',
    'many entries': '[' + '1,' * 30_000 + ']',
    'large': '#' * 2_000_000,
    'torn': 'a: [1, 2',
}
BAD_JSON = {
    'deep lists': '[' * 100_000,
    'rather deep': '[' * 60 + ']' * 60,
    'deep objects': '{"a":' * 60 + '1' + '}' * 60,
    'long number': '9' * 5000,
    'NaN': '{"a": NaN}',
    'infinite': '{"a": 1e999}',
    'torn': '{"a": ',
}


def assert_refused(parse, text: str) -> None:
    # Without the limits, expanding the aliases took a minute and 4 GB.
    with pytest.raises(ValueError, match=r'.') as error:
        parse(text)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize('name', BAD_YAML)
def test_yaml_that_does_harm_is_refused(name: str) -> None:
    assert_refused(parse_yaml, BAD_YAML[name])


@pytest.mark.parametrize('name', BAD_JSON)
def test_json_that_does_harm_is_refused(name: str) -> None:
    assert_refused(parse_json, BAD_JSON[name])


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        with contextlib.suppress(ValueError):
            parse(text)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(['1e3', '10:45', '007']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
def test_what_is_written_is_read_to_the_same_content(content) -> None:
    assert parse_yaml(dump_yaml(content)) == content


def test_honest_aliases_and_nesting_are_read() -> None:
    assert parse_yaml('a: &x [1, 2]\nb: *x\nc: {<<: {d: 10:45}}') == {
        'a': [1, 2],
        'b': [1, 2],
        'c': {'d': '10:45'},
    }
    assert parse_yaml('') is None


@pytest.mark.parametrize('read', [read_yaml, read_json])
def test_what_is_no_file_is_refused_without_waiting(read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', tmp_path, Path('/dev/zero')):
        with pytest.raises(ValueError, match='not a file'):
            read(path)
    with pytest.raises(OSError, match='No such file'):
        read(tmp_path / 'none')


@pytest.mark.parametrize('name', ['../x', '/etc/passwd', 'a/../../x', 'a\0', '', 7, None, ['a']])
def test_parts_stay_inside(name, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='part'):
        inside(tmp_path, name, 'part')
    assert inside(tmp_path, 'a/b', 'part') == tmp_path / 'a/b'
