"""Ctrl-C ends a command at every moment in one line: as it imports, amid compiled code, with nobody at the terminal."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from jaxreid.process import commands as all_commands
from jaxreid.process import exit_status
from tests.fixtures import commands

MODULES = sorted({one.module for one in all_commands.COMMANDS.values()})
LINUX = pytest.mark.skipif(not os.path.exists('/proc/self/maps'), reason='asks Linux what a process has loaded')


def start(*arguments, **how):
    """The interpreter, with what it prints in one pipe."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=commands.ROOT,
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(commands.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **how,
    )


def stopped_amid_imports(process, library):
    """Sends Ctrl-C when a library is being loaded; what is printed."""
    maps = pathlib.Path(f'/proc/{process.pid}/maps')
    while library not in maps.read_text():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[0]


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize('module', MODULES)
def test_a_command_that_is_stopped_while_it_imports_says_so_in_one_line(module):
    process = start('-m', module, '--help')
    assert stopped_amid_imports(process, 'numpy') == '\njaxreid: interrupted; run the same command again\n'
    assert process.returncode == 130


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize('library', ['libjax_common', 'cv2', 'tensorstore', 'scipy'])
def test_whatever_it_is_importing(library, tmp_path):
    process = start('-X', 'utf8', '-m', 'jaxreid.main', '--mode=summary', f'--workdir={tmp_path}')
    assert stopped_amid_imports(process, library) == '\njaxreid: interrupted; run the same command again\n'
    assert process.returncode == 130


@LINUX
@pytest.mark.slow
def test_so_does_the_installed_command(tmp_path):
    script = tmp_path / 'jaxreid'
    script.write_text('from jaxreid.process import commands\ncommands.main()\n')
    process = start(script, 'train', '--help')
    assert stopped_amid_imports(process, 'libjax_common') == '\njaxreid: interrupted; run the same command again\n'
    assert process.returncode == 130


def test_a_program_that_imports_jaxreid_keeps_its_own_ctrl_c():
    code = 'from signal import *; mine = getsignal(SIGINT); import jaxreid; print(getsignal(SIGINT) is mine)'
    assert start('-c', code).communicate(timeout=60)[0] == 'True\n'


UNDER_WAY = """
import hashlib, sys, time
from jaxreid.process import exit_status
def act():
    print('begun', flush=True)
    {act}
sys.exit(exit_status.run(act))
"""


def stop(act, *, times, close=False):
    """Status and output of an action that gets Ctrl-C so many times, `close`: after who reads the terminal has gone."""
    process = start('-c', UNDER_WAY.format(act=act))
    assert process.stdout.readline() == 'begun\n'
    if close:
        process.stdout.close()
    for _ in range(times):
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    if close:
        return process.wait(timeout=30), ''
    said = process.communicate(timeout=30)[0]
    return process.returncode, said


def test_one_ctrl_c_is_one_line_and_status_130():
    assert stop('time.sleep(60)', times=1) == (130, '\njaxreid: interrupted; run the same command again\n')


@pytest.mark.slow
def test_a_second_one_ends_what_compiled_code_holds_up():
    # Python hears of signals between two of its own steps, and this is one.
    begun = time.monotonic()
    held_up = 'hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)'
    status, said = stop(held_up, times=2)
    assert (status, said) == (130, '\njaxreid: interrupted; run the same command again\n')
    assert time.monotonic() - begun < 20


def test_a_second_one_ends_what_does_not_heed_the_first():
    heedless = 'exec("while True:\\n  try: time.sleep(9)\\n  except BaseException: pass")'
    status, said = stop(heedless, times=2)
    assert (status, 'Traceback' in said) == (130, False)


def test_nobody_at_the_terminal_changes_nothing_of_the_status():
    assert stop('time.sleep(60)', times=1, close=True)[0] == 130


def test_what_nobody_reads_is_no_error_at_the_end():
    process = start(
        '-c', UNDER_WAY.format(act='time.sleep(1); sys.stdout.reconfigure(write_through=False); print("x")')
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 0


def test_the_handler_from_before_is_back_when_a_command_has_ended():
    before = signal.getsignal(signal.SIGINT)
    assert exit_status.run(lambda: signal.getsignal(signal.SIGINT) is before) == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
