"""Numbers of a run, as JSON lines (`metrics.jsonl`) and as TensorBoard events (`tensorboard/`)."""

import functools
import json
import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import tqdm

from jaxreid.process import atomic, json_file

if TYPE_CHECKING:
    import tensorboardX


class MetricsLog:
    """Appends one line per report. A resumed run first drops lines of steps that it will make again."""

    def __init__(self, workdir: pathlib.Path, *, start_step: int):
        """Opens the logs of a run that continues after `start_step`."""
        self._path = workdir / 'metrics.jsonl'
        self._again: set[str] = set()  # lines of the step that it continues after: what follows it may be repeated
        if self._path.exists():
            lines = self._path.read_bytes().splitlines(keepends=True)
            rows = list(map(_row, lines))
            if damaged := rows[:-1].count(None):
                say(f'{self._path}: {damaged} damaged lines are taken out of it')
            kept = [(line, row['step']) for line, row in zip(lines, rows) if row and row['step'] <= start_step]
            self._again = {line.decode().rstrip() for line, at in kept if at == start_step}
            atomic.write(self._path, b''.join(line for line, _ in kept))
        try:
            self._file = self._path.open('a', buffering=1)
        except OSError as e:
            raise OSError(f'cannot write {self._path}: {e}; choose a writable --workdir') from e
        self._folder, self._purge_step = workdir / 'tensorboard', start_step + 1

    @functools.cached_property
    def _events(self) -> 'tensorboardX.SummaryWriter':
        import tensorboardX  # imports PyTorch where that is installed, which takes seconds: after the first step

        try:
            return tensorboardX.SummaryWriter(str(self._folder), purge_step=self._purge_step)
        except OSError as e:
            raise OSError(f'cannot write {self._folder}: {e}; choose a writable --workdir') from e

    def write(self, step: int, values: Mapping[str, float | str | jax.Array]) -> None:
        """Appends {'step': step, ...values}; numbers go to TensorBoard too. What a killed run wrote is not repeated."""
        plain = {k: float(v) if hasattr(v, 'dtype') else v for k, v in values.items()}
        line = json.dumps({'step': step} | plain)
        if line in self._again:
            return
        try:
            self._file.write(line + '\n')
        except OSError as e:
            raise OSError(f'cannot write {self._path}: {e}; make space, then run the same command to continue') from e
        for name, value in plain.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes both logs."""
        self._file.close()
        self._events.close()


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """What `MetricsLog` wrote, by line; a last one that is not whole is left out: a kill cut it.

    Raises:
      ValueError: a line is damaged; names file and line. OSError: there is no such file.
    """
    path = workdir / 'metrics.jsonl'
    lines = path.read_bytes().splitlines()
    rows = list(map(_row, lines))
    if None in rows[:-1]:
        raise ValueError(
            f'{path} is damaged: line {rows.index(None) + 1} is no object of JSON with a "step"; remove that line'
        )
    return [row for row in rows if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    """None for a line that is no report."""
    try:
        row = json_file.parse(line, dict[str, Any], where='a line')
    except ValueError:
        return None
    return row if isinstance(row.get('step'), int) else None


def say(text: str) -> None:
    """Prints on the first process, beside progress bars."""
    if jax.process_index() == 0:
        tqdm.tqdm.write(text)
