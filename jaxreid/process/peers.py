"""The processes of a run on several hosts: one that is gone is named by the others, in a line.

JAX's coordination service notices, and ends the other processes from C++, with a stack and without a number in sight.
What they say of it goes through a pipe, and the line is made of it.
"""

import atexit
import contextlib
import ctypes
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax

from jaxreid.process import exit_status

_HEARTBEATS = 40  # seconds without one after which a process counts as gone [choice: named within a minute]
_PATIENCE = 10.0  # seconds within which processes that are interrupted together end together
_LATER = 1.0  # seconds within which what belongs together has been said
_PIPE = 2**20  # bytes that may be said before they are read
_FATAL, _ABOUT = b'JAX distributed service detected fatal errors', re.compile(rb'coordination_service|preemption_sync')
_SILENT = re.compile(rb'stopped sending heartbeats\):\s*([\d,\s]+)')
_BROKEN = re.compile(r'gloo|nccl|peer|socket|coordination|deadline', re.IGNORECASE)
_interrupted = threading.Event()  # by Ctrl-C or SIGTERM: what `_leave` tells `_end`


@contextlib.contextmanager
def joined(coordinator: str | None, processes: int | None, number: int | None) -> Iterator[None]:
    """Joins the processes of a run for the length of the block; arguments as of `jax.distributed.initialize`.

    A process that fails leaves without waiting for the others, which then name it.
    """
    if os.name == 'posix':
        _hear()
    # Whoever reaches the coordinator's port may join: it listens at the address asked for, and at no other.
    jax.distributed.initialize(
        coordinator, processes, number, coordinator_bind_address=coordinator, heartbeat_timeout_seconds=_HEARTBEATS
    )
    try:
        try:
            yield
        except Exception as e:
            if jax.process_count() > 1:
                _fail(e)
            raise
    except KeyboardInterrupt as e:
        if jax.process_count() > 1:
            _leave(e)
        raise


def _fail(e: Exception) -> NoReturn:
    """Says what went wrong, and which other process is gone if that is why; ends this one."""
    said = str(e)
    if isinstance(e, ValueError | RuntimeError) and _BROKEN.search(said):
        print('\nthe connection to another process broke; which one is gone shows within a minute', file=sys.stderr)
        time.sleep(_HEARTBEATS + 15)
    if isinstance(e, ValueError | OSError | ImportError) and not os.environ.get('JAXREID_TRACEBACK'):
        exit_status.fail(said, 1)
    else:
        traceback.print_exc()
    exit_status.flush()
    os._exit(1)


def _leave(e: KeyboardInterrupt) -> None:
    """Lets go of the others where they are interrupted too; ends this process where they wait for it in a sum."""
    _interrupted.set()
    alone = threading.Event()

    def let_go() -> None:
        with contextlib.suppress(RuntimeError):
            jax.distributed.shutdown()
            alone.set()

    threading.Thread(target=let_go, daemon=True).start()
    if not alone.wait(_PATIENCE):
        status = exit_status.interrupted(e)
        exit_status.flush()
        os._exit(status)


def _hear() -> None:
    """From here on what C++ writes to the terminal goes through `_relay`; what Python writes does not."""
    terminal = os.dup(2)
    heard, told = os.pipe()
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(told, fcntl.F_SETPIPE_SZ, _PIPE)
    os.dup2(told, 2)
    os.close(told)
    sys.stderr = os.fdopen(terminal, 'w', buffering=1, errors='backslashreplace', closefd=False)
    threading.Thread(target=_relay, args=(heard, terminal), daemon=True).start()
    atexit.register(os.dup2, terminal, 2)
    # Who aborts sleeps first, for as many seconds as the number of the signal, 6: time to read what was said.
    libc = ctypes.CDLL(None)
    libc.signal(int(signal.SIGABRT), ctypes.cast(libc.sleep, ctypes.c_void_p))


def _relay(heard: int, terminal: int) -> None:
    kept = b''
    while True:
        if kept and not select.select([heard], [], [], _LATER)[0]:
            if _FATAL in kept:
                _end(kept, terminal)
            os.write(terminal, kept)
            kept = b''
        if not (piece := os.read(heard, 65536)):
            os.write(terminal, kept)
            return
        kept += piece
        if not _ABOUT.search(kept) and _FATAL not in kept:
            os.write(terminal, kept)
            kept = b''


def _end(said: bytes, terminal: int) -> None:
    if _interrupted.is_set():  # the others go as well, and the coordinator may be the first
        os._exit(exit_status.interrupted())
    silent = _SILENT.search(said)
    gone = ', '.join(silent[1].decode().split()) if silent else '0'  # nothing but the coordinator ends without a number
    line = f'\njaxreid: process {gone} is gone, and the others cannot go on without it; what it said last tells why. '
    os.write(
        terminal, (line + 'To continue from the last checkpoint, run the same command on all hosts again.\n').encode()
    )
    os._exit(1)
