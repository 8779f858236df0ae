"""Runs of the real command in processes of their own, on the `tiny` preset."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = [
    '--config.backbone.width=8',
    '--config.sampler.num_ids=4',
    '--config.sampler.tracklets_per_id=2',
    '--config.train.log_every_steps=1',
    '--config.test.batch_clips=16',
]


class Command:
    """`python -m jaxreid.main` with a small network; devices and arguments vary."""

    def __init__(self, cache: pathlib.Path):
        """`cache`: receives the rendered data set and the compiled programs of all runs."""
        self.cache = cache

    def arguments(self, workdir, *arguments):
        """The command line."""
        config = f'--config={ROOT / "configs" / "strf_synthetic.py"}:tiny'
        return [sys.executable, '-m', 'jaxreid.main', config, f'--workdir={workdir}', *SMALL, *arguments]

    def environment(self, devices):
        """Of a process that sees so many CPU devices."""
        flags = f'--xla_force_host_platform_device_count={devices}'
        return os.environ | {
            'JAXREID_CACHE': str(self.cache),
            'XLA_FLAGS': flags,
            'PYTHONPATH': str(ROOT),
            'JAX_PLATFORMS': 'cpu',
        }

    def start(self, workdir, *arguments, devices=1):
        """Starts a run and does not wait for it."""
        return self.launch(self.arguments(workdir, *arguments), devices=devices)

    def run(self, workdir, *arguments, devices=1, status=0):
        """Runs to the end, checks the exit status, returns what was printed."""
        return self.execute(self.arguments(workdir, *arguments), devices=devices, status=status)

    def execute(self, arguments, *, devices=1, status=0):
        """`run` with a command line of the caller's."""
        process = self.launch(arguments, devices=devices)
        output = process.communicate(timeout=400)[0]
        assert process.returncode == status, output
        return output

    def launch(self, arguments, *, devices=1):
        """`start` with a command line of the caller's."""
        return subprocess.Popen(
            arguments,
            env=self.environment(devices),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope='session')
def command(tmp_path_factory):
    """Command whose data set and compiled programs all tests of a session share, whichever process runs them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    return Command(shared / 'command-cache')
