"""How every command ends: a user's error becomes one message and a status, never a traceback. Imports nothing heavy."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_PATIENCE = 5.0  # seconds that a second Ctrl-C leaves to what is compiled or written


def run(act: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status: its own (None counts as 0), 1 after an error that a user can mend.

    128 plus the signal's number after Ctrl-C (or the `number` that `interrupt.Interrupted` carries); a second Ctrl-C
    ends the process whatever it is at. Everything that jaxreid raises at its borders is a ValueError, an OSError or an
    ImportError of an extra that is not installed. `JAXREID_TRACEBACK=1` shows where an error came from.
    """
    with _heeding_interrupts():
        try:
            return act() or 0
        except KeyboardInterrupt as e:
            return interrupted(e)
        except (ValueError, OSError, ImportError) as e:
            if os.environ.get('JAXREID_TRACEBACK'):
                raise
            return fail(str(e), 1)
        finally:
            flush()


def fail(message: str, status: int) -> int:
    """Prints an error for people, where somebody still reads the terminal, and returns the status."""
    with contextlib.suppress(OSError):
        print(f'\njaxreid: {message}', file=sys.stderr)
    return status


def interrupted(e: KeyboardInterrupt | None = None) -> int:
    """Prints that the command was interrupted, and returns 128 plus the signal's number."""
    return fail(str(e or '') or 'interrupted; run the same command again', 128 + getattr(e, 'number', signal.SIGINT))


def stop(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Ends the process at once: a handler for signals before a command begins, while it imports, and after it ends."""
    with contextlib.suppress(OSError):
        os.write(2, b'\njaxreid: interrupted; run the same command again\n')
    os._exit(128 + number)


def module_run() -> str:
    """What `python -m` runs in this process, or the name of its script."""
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if argument == '-m':
            return next(arguments, '')
        if argument in ('-X', '-W'):
            next(arguments, None)
        elif argument == '-c' or not argument.startswith('-'):
            return os.path.basename(argument)
    return ''


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt inside; a second one ends the process, though compiled code holds it up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, stop)
        raise KeyboardInterrupt

    def watch() -> None:
        count = 0
        with heard:
            while came := heard.recv(64):  # the numbers of signals, whatever the main thread is at
                count += came.count(signal.SIGINT)
                if count > 1 and not ended.wait(_PATIENCE):
                    stop()

    heard, told = socket.socketpair()
    told.setblocking(False)
    ended = threading.Event()
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    outside = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, outside)
        signal.set_wakeup_fd(before)
        ended.set()
        told.close()
        watching.join()


def flush() -> None:
    """Ends what is printed; what nobody reads any more is let go: Python would change the status at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Text without what steers a terminal: names are anybody's."""
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in text)
