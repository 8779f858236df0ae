"""Memory that all processes of a run on one host see, so that what is large lies there once."""

import glob
import os
import secrets

import jax
import numpy as np
from jax.experimental import multihost_utils

FOLDER = '/dev/shm'


def everyone(number: int) -> list[int]:
    """The numbers of all processes of the run, in order; all must ask together."""
    if jax.process_count() == 1:
        return [number]
    return np.ravel(multihost_utils.process_allgather(np.int32(number))).tolist()


def allocate(size: int) -> tuple[np.ndarray, list[int]]:
    """[size] uint8 that is one for all processes of this run on this host, and which processes these are.

    All processes of the run must ask together. Who is on this host is seen by a file of each in `FOLDER`: processes in
    containers of their own share nothing. The memory has no name any more when this returns, and ends with its users.

    Raises ValueError where there is not enough of it, in all processes.
    """
    number = jax.process_index()
    if jax.process_count() == 1:
        return np.empty(size, np.uint8), [number]
    name = f'{FOLDER}/jaxreid-{everyone(secrets.randbits(31))[0]:08x}-'
    open(f'{name}{number}', 'x').close()
    everyone(number)
    here = sorted(int(path.removeprefix(name)) for path in glob.glob(f'{name}*') if path.removeprefix(name).isdigit())
    leads, failed = number == here[0] and len(here) > 1, False
    if leads:
        with open(f'{name}memory', 'xb') as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                failed = True
    any_failed = any(everyone(failed))
    os.unlink(f'{name}{number}')
    try:
        if any_failed:
            raise ValueError(
                f'{FOLDER}, the memory that processes of a host share, does not hold the {size:,} bytes of the decoded '
                f'frames: make it larger (docker run --shm-size), start one process a host, or choose '
                '--config.data.store=folder or records.'
            )
        memory = np.memmap(f'{name}memory', np.uint8, 'r+', shape=size) if len(here) > 1 else np.empty(size, np.uint8)
        everyone(number)  # all have it
    finally:
        if leads:
            os.unlink(f'{name}memory')
    return memory, here
