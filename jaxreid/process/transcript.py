"""`log.txt`: what a command told the terminal, without the progress bars."""

import contextlib
import datetime
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import jax

_STEERING = re.compile(r'\x1b\[[0-9;]*[A-Za-z]')  # of a terminal's cursor and colours


@contextlib.contextmanager
def kept(workdir: pathlib.Path) -> Iterator[None]:
    """Copies what the block prints to the end of `<workdir>/log.txt`, below a line with the time and the command.

    Of several processes the first does. An error that ends the block is the last line. Where nobody reads the terminal
    any more (Ctrl-C ends `tee` too), the file alone is written.

    Raises:
      OSError: the file cannot be opened; says what to do.
    """
    if jax.process_index():
        yield
        return
    try:
        file = (workdir / 'log.txt').open('ab', buffering=0)
    except OSError as e:
        raise OSError(f'cannot write {workdir / "log.txt"}: {e}; choose a writable --workdir') from e
    with file:
        out, err = _Copied(sys.stdout, file, blank=True), _Copied(sys.stderr, file, blank=False)
        now = datetime.datetime.now(datetime.UTC)
        out.copy(f'=== {now:%Y-%m-%d %H:%M:%S} UTC: {shlex.join(sys.argv)}\n')
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        except BaseException as e:
            out.copy(f'{e or type(e).__name__}\n')
            raise


class _Copied:
    """A stream of the terminal whose whole lines are copied, but for what is drawn again: progress bars."""

    def __init__(self, stream: TextIO, file: BinaryIO, *, blank: bool):
        """`blank`: empty lines are copied; bars write some."""
        self._stream, self._file, self._blank, self._line = stream, file, blank, ''

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(text)
        if '\r' not in text:  # with which a bar begins
            self.copy(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()

    def copy(self, text: str) -> None:
        *lines, self._line = (self._line + _STEERING.sub('', text)).split('\n')
        # A full disk is said by what must not be lost; the terminal still hears the rest.
        with contextlib.suppress(OSError):
            for line in lines:
                if line or self._blank:
                    self._file.write(f'{line}\n'.encode(errors='replace'))
