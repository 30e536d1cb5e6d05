"""Messages of the library's loggers reach the node's log with their severity."""

from __future__ import annotations

import logging

import pytest

from drive_segment_ros.ros.library_log import LibraryLog

LOG = logging.getLogger('drive_segment_ros.inference.cuda')


class RosLogger:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, severity: str):
        return lambda text: self.said.append(f'{severity} {text}')


@pytest.fixture
def bridges():
    made: list[LibraryLog] = []

    def make() -> tuple[RosLogger, LibraryLog]:
        ros = RosLogger()
        made.append(LibraryLog(ros))
        return ros, made[-1]

    yield make
    for bridge in made:
        bridge.close()


def test_every_severity_is_the_nodes(bridges):
    ros, _ = bridges()
    for level in ('debug', 'info', 'warning', 'error', 'critical'):
        getattr(LOG, level)('%s of %d', level, 3)
    assert ros.said == [
        'debug cuda: debug of 3',
        'info cuda: info of 3',
        'warning cuda: warning of 3',
        'error cuda: error of 3',
        'fatal cuda: critical of 3',
    ]


def test_a_line_is_said_once_and_after_the_last_node_as_before(bridges, caplog):
    first, bridge = bridges()
    second, other = bridges()
    LOG.warning('one')
    assert (first.said, second.said) == ([], ['warning cuda: one'])
    other.close()
    LOG.warning('two')
    assert first.said == ['warning cuda: two']
    assert caplog.messages == []
    bridge.close()
    LOG.info('too low for others')
    LOG.warning('three')
    assert len(first.said) == len(second.said) == 1
    assert caplog.messages == ['three']
