"""The command that tries to break jaxreid, with few attempts of each kind; see __main__."""

import subprocess
import sys

import pytest

from tests.fixtures import commands

pytestmark = pytest.mark.slow

AMID_BEST = """
import pathlib, random, sys
import tests.reliability.__main__
from tests.reliability import kills
kills.STAGES = {'saving the best': (*kills.STAGES['saving the best'][:2], 0.0)}  # as it begins
kills.os.environ['JAXREID_CACHE'] = sys.argv[1] + '/cache'
print([row for row in kills.in_runs(pathlib.Path(sys.argv[1]), 1, random.Random(0))])
"""


def run(*arguments):
    """What it prints; it starts with modules of its own, so that its children may be forked."""
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=commands.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.mark.parametrize(('kind', 'number'), [('kills', 6), ('flips', 6), ('faults', 6), ('fuzz', 1000)])
def test_nothing_that_is_tried_breaks_it(kind, number):
    assert f'{kind:<7} ' in run('-m', 'tests.reliability', kind, '--number', str(number))


def test_a_run_that_is_killed_before_its_best_checkpoint_is_saved_has_no_row_of_it_and_saves_it_the_next_time(tmp_path):
    assert "what='a run, killed in saving the best', tried=1" in (said := run('-c', AMID_BEST, str(tmp_path)))
    assert 'failed=[]' in said
