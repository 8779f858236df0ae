"""Damaged training frames by name: all in a file of the run, the first in the terminal; too many stop the run."""

import os
import pathlib

from jaxreid.process import exit_status, metrics_log

FILE = 'damaged_frames.txt'
LIMIT = 0.1  # of the training frames: with more of them replaced the training is of another data set [choice]
_SHOWN = 5


def note(file: str, frame: str, problem: object) -> None:
    """Adds a line to the file; any thread or process may."""
    line = exit_status.printable(f'{frame}: {problem}').encode('utf-8', 'replace') + b'\n'
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


class DamagedFrames:
    """What the file of a run holds."""

    def __init__(self, workdir: pathlib.Path, *, of: int):
        """What an earlier part of the run found counts.

        Args:
          workdir: of the run.
          of: frames of the training split.
        """
        self.file = workdir / FILE
        self._of = of
        self._lines: dict[str, str] = {}  # by frame: processes, pieces of a tracklet and parts of a run name it too
        self._bytes = 0
        self._read()
        self._earlier = len(self._lines)

    def tell(self) -> None:
        """Says which frames turned out to be damaged since the last call.

        Raises:
          ValueError: they are more than LIMIT of the split.
        """
        shown = len(self._lines)
        self._read()
        for line in list(self._lines.values())[shown : max(shown, self._earlier + _SHOWN)]:
            metrics_log.say(f'damaged frame, a neighbour takes its place: {line}')
        if shown <= self._earlier + _SHOWN < len(self._lines):
            metrics_log.say(f'more damaged frames are named in {self.file}')
        if len(self._lines) > LIMIT * self._of:
            raise ValueError(
                f'{len(self._lines)} of {self._of} training frames are damaged, more than {LIMIT:.0%}; {self.file} '
                'names those that were read. Restore them, or leave them out of the data set; '
                'python -m jaxreid.data_pipelines.verify looks at all.'
            )

    def summary(self) -> str:
        """A line for the end of a run; '' where all frames were whole."""
        self._read()
        found = len(self._lines)
        return f'{found} damaged training frames were replaced by neighbours: {self.file}' if found else ''

    def _read(self) -> None:
        if not self.file.exists() or self.file.stat().st_size == self._bytes:
            return
        text = self.file.read_bytes()
        self._bytes = len(text)
        for line in text.decode('utf-8', 'replace').splitlines():
            self._lines.setdefault(line.partition(': ')[0], line)
