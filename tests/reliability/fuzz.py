"""Changed files in every reader; `fuzzed_readers` tries them, in a process with limits."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from tests.fixtures import commands
from tests.reliability import outcome


def rows(work: pathlib.Path, *, number: int, seed: int) -> Iterator[outcome.Row]:
    """A row for every reader; `number` files in all."""
    run = subprocess.run(
        [sys.executable, '-m', 'tests.reliability.fuzzed_readers', str(work), str(number), str(seed)],
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        timeout=240 + number,
    )
    made = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"reader"')]
    for row in made:
        said = f'{row["refused"]} named, {row["tried"] - row["refused"]} read'
        yield outcome.Row(row['reader'], row['tried'], said, [row['fault']] if row['fault'] else [])
    if run.returncode or not made:
        yield outcome.Row('the process of the readers', 1, 'ended', [run.stderr[-2000:]])
