"""Nodes as processes: signals and failed transitions end them in every state; logging."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import rclpy

from drive_segment_ros.nodes import executables

# `configure` that cannot be interrupted, like the build of an engine.
LOADING = """
import time
from drive_segment_ros.nodes import executables
from drive_segment_ros.nodes.proposals_node import ProposalsNode

def configure(self):
    print('configuring', flush=True)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

ProposalsNode.configure = configure
"""
REFUSING = """
from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.nodes import executables
from drive_segment_ros.nodes.proposals_node import ProposalsNode

def configure(self):
    raise CalibrationError('K is zero')

ProposalsNode.configure = configure
"""
EXECUTABLE = """
init = ProposalsNode.__init__

def begin(self, **options):
    init(self, **options)
    self.create_timer(0.01, lambda: self.state == 'unconfigured' and self.trigger_configure())

ProposalsNode.__init__ = begin
executables.proposals_node()
"""
LIVE = """
from drive_segment_ros.cli import main
main()
"""


@pytest.fixture
def start(ros_domain):
    """Return a function that starts a script as a process, which is killed after the test."""
    processes = []

    def begin(script: str, *arguments: str) -> subprocess.Popen:
        processes.append(
            subprocess.Popen(
                [sys.executable, '-c', script, *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ('script', 'arguments', 'number', 'code'),
    [
        (EXECUTABLE, (), signal.SIGINT, 0),
        (LIVE, ('live', '--node', 'proposals'), signal.SIGINT, 130),
        (LIVE, ('live', '--node', 'proposals'), signal.SIGTERM, 130),
    ],
)
def test_a_signal_ends_a_node_that_is_being_configured(start, script, arguments, number, code):
    process = start(LOADING + script, *arguments)
    assert process.stdout.readline() == 'configuring\n'
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert 'Traceback' not in output + errors
    assert 'compiled kernels are kept' in output + errors


def test_a_signal_while_the_node_is_imported_ends_it_without_a_word(start):
    script = """
import importlib, sys, time
from drive_segment_ros.nodes import executables

def load(name):
    print('importing', flush=True)
    time.sleep(600)

executables.load = load
executables.proposals_node()
"""
    process = start(script)
    assert process.stdout.readline() == 'importing\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ('', '')
    assert process.returncode == 0


def test_a_signal_while_live_imports_the_node_ends_it_in_one_line(start):
    script = """
import time
from drive_segment_ros.nodes import live

def load(name):
    try:
        print('importing', flush=True)
        time.sleep(600)
    except BaseException as err:
        raise ImportError('no such symbol') from err

live.load = load
"""
    process = start(script + LIVE, 'live', '--node', 'proposals')
    assert process.stdout.readline() == 'importing\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ('', 'interrupted; nothing was begun\n')
    assert process.returncode == 130


def test_a_node_that_waits_for_nothing_ends_at_once(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('idle', context=context)
    node.loading = False
    spun = executables.SpunNode(node, context)
    asked = spun.call(lambda: None)
    while not asked.done():
        time.sleep(0.01)
    # Long enough for the executor to wait again; no timer of the node would wake it.
    time.sleep(0.2)
    ending = threading.Thread(target=spun.end, daemon=True)
    ending.start()
    ending.join(60.0)
    assert not ending.is_alive()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_refused_node_ends_by_exit_code_1_where_that_is_asked_for(start):
    asked = ('--ros-args', '-p', 'exit_on_failure:=true')
    process = start(REFUSING + EXECUTABLE, *asked)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert 'not configured: K is zero' in output + errors
    assert 'Traceback' not in output + errors


def test_a_refused_node_waits_to_be_configured_again(start):
    process = start(REFUSING + EXECUTABLE)
    refusals = [line for _, line in zip(range(3), process.stderr, strict=False)]
    assert all('not configured: K is zero' in line for line in refusals)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0


SPEAKING = """
import logging
from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.nodes import executables
from drive_segment_ros.nodes.proposals_node import ProposalsNode

def configure(self):
    self.get_logger().debug('of the node')
    logging.getLogger('drive_segment_ros.inference.cuda').debug('of the library')
    raise CalibrationError('K is zero')

ProposalsNode.configure = configure
"""


@pytest.mark.parametrize(
    ('level', 'is_said'),
    [
        ('proposals_node:=debug', True),
        ('front.proposals_node:=debug', True),
        ('recorder_node:=debug', False),
        ('info', False),
    ],
)
def test_a_log_level_holds_for_the_node_and_the_library(start, level, is_said):
    asked = ('-p', 'exit_on_failure:=true', '-r', '__ns:=/front', '--log-level', level)
    process = start(SPEAKING + EXECUTABLE, '--ros-args', *asked)
    output, errors = process.communicate(timeout=120)
    said = output + errors
    assert ('[front.proposals_node]: of the node' in said) == is_said
    assert ('[front.proposals_node]: cuda: of the library' in said) == is_said


@pytest.mark.parametrize('wrong', [('--log-level', 'proposals_node:=loud'), ('-p', 'nothing')])
def test_ros_arguments_that_are_none_are_told_in_one_line(start, wrong):
    process = start(SPEAKING + EXECUTABLE, '--ros-args', *wrong)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    # rcl logs an error of its own before it.
    line = errors.splitlines()[-1]
    assert line.startswith('error: ')
    assert wrong[1] in line
    assert 'Traceback' not in output + errors
