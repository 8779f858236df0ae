"""Libraries in C write to the terminal past Python, and some have no switch for it."""

import contextlib
import os
import threading
from collections.abc import Iterator

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def stderr() -> Iterator[None]:
    """What the process writes to its stderr inside goes nowhere; for calls that are short, one thread at a time."""
    with _one_at_a_time, open(os.devnull, 'wb') as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
