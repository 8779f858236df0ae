"""How every command ends: a user's error becomes one message and a status, never a traceback. Imports nothing heavy."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def run(act: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status: its own (None counts as 0), 1 after an error that a user can mend.

    128 plus the signal's number after Ctrl-C (or the `number` that `interrupt.Interrupted` carries). Everything that
    jaxreid raises at its borders is a ValueError, an OSError or an ImportError of an extra that is not installed.
    `JAXREID_TRACEBACK=1` shows where an error came from.
    """
    if sys.unraisablehook is not _late:
        _shown.append(sys.unraisablehook)
        sys.unraisablehook = _late
    try:
        return act() or 0
    except KeyboardInterrupt as e:
        return fail(str(e) or 'interrupted; run the same command again', 128 + getattr(e, 'number', signal.SIGINT))
    except (ValueError, OSError, ImportError) as e:
        if os.environ.get('JAXREID_TRACEBACK'):
            raise
        return fail(str(e), 1)


_shown: list[Callable[[Any], object]] = []  # what shows errors that nobody can catch, without us


def _late(error: Any) -> None:
    """Passes what Orbax's reads and writes tell a loop that a failure, of a full disk for example, has closed."""
    if not (isinstance(error.exc_value, RuntimeError) and 'Event loop is closed' in str(error.exc_value)):
        _shown[-1](error)


def fail(message: str, status: int) -> int:
    """Prints an error for people and returns the status."""
    print(f'\njaxreid: {message}', file=sys.stderr)
    return status


def printable(text: str) -> str:
    """Text without what steers a terminal: names are anybody's."""
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in text)
