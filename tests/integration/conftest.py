"""The command, one for all tests of a session."""

import os

import pytest

from jaxreid import main
from tests.fixtures import commands


@pytest.fixture(scope='session')
def command(tmp_path_factory):
    """Command whose data set all tests of a session share, whichever process runs them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    return commands.Command(shared / 'command-cache')


@pytest.fixture(scope='session')
def uninterrupted(command):
    """Workdir of a run of 40 steps that nothing disturbed."""
    return command.once('uninterrupted', *commands.LONG)


@pytest.fixture
def here(command, monkeypatch, capsys):
    """Runs the command in this process, on its eight devices; returns what it printed."""
    monkeypatch.setenv('JAXREID_CACHE', str(command.cache))

    def run(workdir, *arguments, status=0):
        assert main.run(['main', *command.arguments(workdir, *arguments)[3:]]) == status
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run
