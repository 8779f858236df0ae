"""Settings of the whole suite: eight CPU devices, quick compilation, and no silent broadcasting between ranks."""

import gc
import os
import pathlib

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Toy programs run for milliseconds and compile for seconds: little optimisation saves a third of the suite's time.
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
)

# Programs are compiled once: runs of the suite, and its workers, share them. Their key holds versions and flags.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/jaxreid-tests/xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update('jax_numpy_rank_promotion', 'raise')
# Compiled programs stay: to walk over them for every 700 new objects would be a tenth of the time.
gc.set_threshold(100_000, 20, 20)

INTEGRATION = pathlib.Path(__file__).resolve().parent / 'integration'
SHARED = pathlib.Path(__file__).resolve().parents[2] / 'shared'


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config, items):
    """Whatever runs the command is slow; each worker begins with its share of the slow tests and ends with quick ones.

    `--dist worksteal` gives every worker a part of the list, one after the other, and who has finished takes quick
    tests from the end of another's part.
    """
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.slow)
    slow = [item for item in items if item.get_closest_marker('slow')]
    quick = [item for item in items if not item.get_closest_marker('slow')]
    files = list(dict.fromkeys(item.path for item in slow))
    workers = getattr(config, 'workerinput', {}).get('workercount', 1)
    ordered = []
    for worker in range(workers):
        part = [item for item in slow if files.index(item.path) % workers == worker]
        size = (len(items) - len(ordered)) // (workers - worker)
        filled = max(size - len(part), 0)
        ordered += [*part, *quick[:filled]]
        quick = quick[filled:]
    items[:] = ordered + quick


@pytest.fixture(scope='session')
def shared():
    """Folder of public metadata that developers have beside the checkout; tests that read it skip without it."""
    if not SHARED.is_dir():
        pytest.skip('the shared metadata folder is not beside this checkout')
    return SHARED


@pytest.fixture(scope='module')
def uncached():
    """Programs for devices that are not here can be written into the compilation cache but never read from it."""
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()  # what JAX decided at its first program
    yield
    jax.config.update('jax_enable_compilation_cache', True)
    compilation_cache.reset_cache()
