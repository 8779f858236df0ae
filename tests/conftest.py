"""Settings of the whole suite: eight CPU devices, quick compilation, and no silent broadcasting between ranks."""

import os
import pathlib

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Toy programs run for milliseconds and compile for seconds: little optimisation saves a third of the suite's time.
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
)

# Programs are compiled once: runs of the suite, and its workers, share them. Their key holds versions and flags.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/jaxreid-tests/xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_xdist_auto_num_workers(config):
    """Tests in two to four processes: most of their time is compilation, which keeps one core busy."""
    return max(2, min(4, os.cpu_count() or 2))


SHARED = pathlib.Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def shared():
    """Folder of public metadata that developers have beside the checkout; tests that read it skip without it."""
    if not SHARED.is_dir():
        pytest.skip('the shared metadata folder is not beside this checkout')
    return SHARED
