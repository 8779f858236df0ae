"""A request to stop is heard, whoever reads the terminal."""

import os
import signal
import subprocess
import sys

from tests.fixtures import commands

ASKED = """
import pathlib, sys, time
from jaxreid.process import interrupt
with interrupt.listen() as requests:
    print('begun', flush=True)
    while not requests.after(0):
        time.sleep(0.01)
pathlib.Path(sys.argv[1]).write_text('saved')
"""


def test_a_request_to_stop_is_one_though_nobody_reads_the_terminal(tmp_path):
    process = subprocess.Popen(
        [sys.executable, '-c', ASKED, str(tmp_path / 'state')],
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(commands.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout.readline() == 'begun\n'
    process.stdout.close()  # Ctrl-C ends the `tee` of `2>&1 | tee log` as well
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert (tmp_path / 'state').read_text() == 'saved'
