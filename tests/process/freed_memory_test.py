"""What a step frees stays with the process between `kept`'s first call and its end, and only then."""

import ctypes
import pathlib
import resource

import jax
import numpy as np
import pytest

from jaxreid.process import freed_memory

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'gnu_get_libc_version'), reason='keeps memory of glibc only')
MIB = 256  # that a step asks for
PAGES = MIB // 2  # at least: NumPy and the system may choose pages of 2 MiB


def step():
    return float(np.ones(MIB << 17).sum())


def faults():
    """Pages that a step gets anew from the system."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def resident_mib():
    line = next(x for x in pathlib.Path('/proc/self/status').read_text().splitlines() if x.startswith('VmRSS'))
    return int(line.split()[1]) / 2**10


@glibc
def test_steps_get_the_memory_of_the_step_before_them_until_the_end():
    step()
    assert faults() >= PAGES
    with freed_memory.kept() as keep:
        step()
        assert faults() >= PAGES
        keep()
        step()
        with freed_memory.kept() as inner:
            inner()
            assert faults() < PAGES / 4
        assert faults() < PAGES / 4
        keep()
        held = resident_mib()
    assert resident_mib() < held - MIB / 2
    assert faults() >= PAGES


@glibc
def test_the_end_comes_with_an_error_too_and_it_can_begin_again():
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), freed_memory.kept() as keep:
            _interrupted(keep)
        assert faults() >= PAGES


def _interrupted(keep):
    keep()
    step()
    assert faults() < PAGES / 4
    raise KeyboardInterrupt


def test_nothing_is_kept_beside_an_accelerator(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(freed_memory, '_set', lambda _: pytest.fail('set'))
    with freed_memory.kept() as keep:
        keep()
    monkeypatch.setattr(freed_memory.importlib.metadata, 'entry_points', lambda group: [group])
    freed_memory.one_heap()


def test_elsewhere_than_with_glibc_nothing_happens(monkeypatch):
    def missing(_):
        raise TypeError('no library of the process itself on Windows')

    monkeypatch.setattr(ctypes, 'CDLL', missing)
    freed_memory.one_heap()
    with freed_memory.kept() as keep:
        keep()
        assert not freed_memory._kept
