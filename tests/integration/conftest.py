"""The command, one for all tests of a session."""

import os

import pytest

from tests.fixtures import commands


@pytest.fixture(scope='session')
def command(tmp_path_factory):
    """Command whose data set all tests of a session share, whichever process runs them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    return commands.Command(shared / 'command-cache')
