"""Memory that a step frees stays with the process, on a CPU with glibc.

XLA asks for the buffers of a step anew at every step, and glibc gives such large ones back to the system each time,
which clears every page before it hands it out again: a sixth of the time of a training step.
"""

import contextlib
import ctypes
import importlib.metadata
from collections.abc import Callable, Iterator

import jax

# Of glibc's malloc.h. The defaults, but for the threshold, which glibc moves by itself until it is set.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_DEFAULTS = {_MMAP_MAX: 65_536, _TRIM_THRESHOLD: 128 << 10}

_kept = False


def one_heap() -> None:
    """All threads share one heap from here on: only the first one of glibc's can grow beyond 64 MiB.

    To be called before JAX starts its threads. Nothing happens without glibc, nor where an accelerator's plugin is
    installed: JAX's buffers lie elsewhere there.
    """
    if not importlib.metadata.entry_points(group='jax_plugins'):
        _set({_ARENA_MAX: 1})


@contextlib.contextmanager
def kept() -> Iterator[Callable[[], None]]:
    """Around a loop of steps: gives what to call after the first one, when nothing more is compiled.

    From that call on, freed memory stays with the process, after what compiling left behind has gone back; at the end
    all of it goes back. Calls after the first, and inside another `kept`, change nothing.
    """
    mine = False

    def begin() -> None:
        nonlocal mine
        global _kept
        if not _kept and jax.default_backend() == 'cpu':
            _trim()
            mine = _kept = _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: -1})

    try:
        yield begin
    finally:
        if mine:
            _end()


def _end() -> None:
    global _kept
    _kept = False
    _set(_DEFAULTS)
    _trim()


def _set(values: dict[int, int]) -> bool:
    """Whether there is a glibc that took them."""
    mallopt = _glibc('mallopt')
    return mallopt is not None and all(mallopt(what, value) == 1 for what, value in values.items())


def _trim() -> None:
    if trim := _glibc('malloc_trim'):
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        libc = ctypes.CDLL(None)
        return getattr(libc, name) if hasattr(libc, 'gnu_get_libc_version') else None
    except (OSError, TypeError, AttributeError):  # Windows
        return None
