"""A process of a run that is killed, or fails, is named by the others in one line, within a minute."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.fixtures import commands

pytestmark = pytest.mark.slow

# Sums over the processes, again and again, as training does; the process `acting` runs `amid` at the fifth time.
WORKER = """
import sys
import numpy as np
from jax.experimental import multihost_utils
from jaxreid.process import exit_status, peers
port, number, acting, amid = sys.argv[1:]
def act():
    with peers.joined(f'127.0.0.1:{port}', 2, int(number)):
        for time in range(10**9):
            multihost_utils.process_allgather(np.int32(time))
            if time == 5:
                print('at work', flush=True)
                if number == acting:
                    exec(amid)
sys.exit(exit_status.run(act))
"""


@pytest.fixture
def pair():
    """Starts two processes, and returns when both are at work."""
    started = []

    def start(amid='', acting=1):
        port = commands.free_port()
        for number in range(2):
            started.append(
                subprocess.Popen(
                    [sys.executable, '-c', WORKER, str(port), str(number), str(acting), amid],
                    env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(commands.ROOT)},
                    cwd=commands.ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        for process in started:
            while (line := process.stdout.readline()) != 'at work\n':
                assert line, process.wait()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def rest(process):
    """What else it says; a line was read before, and more may be waiting behind it."""
    process.wait(timeout=100)
    return process.stdout.read()


def ends(process, *, gone):
    """What a process says that names another as gone, within a minute."""
    begun = time.monotonic()
    said = rest(process)
    assert time.monotonic() - begun < 60, said
    assert process.returncode == 1, said
    assert (
        len(re.findall(rf'^jaxreid: process {gone} is gone, .* run the same command on all hosts again', said, re.M))
        == 1
    )
    for other in ('Traceback', '@ 0x', 'stack trace', 'terminate called', 'disk', 'Space', 'coordination'):
        assert other not in said, said
    return said


@pytest.mark.parametrize('killed', [0, 1], ids=['the coordinator', 'a worker'])
def test_a_killed_process_is_named_by_the_other_within_a_minute_without_a_stack(pair, killed):
    running = pair()
    running[killed].send_signal(signal.SIGKILL)
    ends(running[1 - killed], gone=killed)


def test_a_process_that_fails_says_why_at_once_and_the_other_names_it(pair):
    coordinator, worker = pair(amid='raise ValueError("no space in /data")')
    said = rest(worker)
    assert (worker.returncode, said) == (1, '\njaxreid: no space in /data\n')
    ends(coordinator, gone=1)


def test_processes_that_end_together_end_well(pair):
    running = pair()
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        said = rest(process)
        assert process.returncode == 130
        assert said == '\njaxreid: interrupted; run the same command again\n'


@pytest.mark.parametrize('first', [0, 1], ids=['the coordinator first', 'a worker first'])
def test_a_process_that_waits_for_one_that_was_interrupted_is_interrupted_too(pair, first):
    running = pair(amid='raise KeyboardInterrupt', acting=first)
    time.sleep(1)  # it waits in a sum that the other does not come to
    running[1 - first].send_signal(signal.SIGINT)
    for process in running:
        said = rest(process)
        assert process.returncode == 130, said
        assert said.count('\njaxreid: interrupted; run the same command again\n') == 1
        assert 'Traceback' not in said, said
