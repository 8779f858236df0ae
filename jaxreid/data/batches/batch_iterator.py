"""Batches made ahead of their use, by threads of this process or by further processes (grain).

A batch is one element of the grain pipeline. Elements are whole batches on purpose: grain's processes take every n-th
element, so batching behind them would mix identities and change the order with the number of processes.
"""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import grain
import jax
import numpy as np
from absl import flags

from jaxreid.data.stores import frame_store

Batch = TypeVar('Batch')

_ORPHAN_CHECK_SECONDS = 1.0


class Items(Protocol):
    """Batch number -> what it shall hold; a pure function, picklable."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class BatchIterator(Generic[Batch]):
    """Iterator over `load(items[0]), load(items[1]), ...` in this order, whatever the number of threads and processes.

    An error of a worker is raised, with its message, by the `next` that would have returned its batch; the iterator is
    closed then. Close it (or use it in a `with`) when leaving before its end: it holds threads and processes.
    """

    def __init__(
        self,
        items: Items,
        load: Callable[[Any], Batch],
        store: frame_store.Counter,
        *,
        threads: int,
        processes: int,
        prefetch: int,
    ):
        """Starts nothing yet, except where `start` or `next` is called.

        `load` runs in the workers; what it reads from, `store`, counts `skipped` there. `processes` 0: in threads of
        this one. `prefetch` batches are made ahead, in all.
        """
        self._skipped: dict[int, int] = {}  # process -> frames replaced so far
        buffer = max(threads, -(-prefetch // max(processes, 1)))  # fewer than threads would leave some idle
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
        elements = grain.MapDataset.source(items).map(functools.partial(_load, load, store)).to_iter_dataset(options)
        if processes:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain reads flags of its own here, also in a program that has none
            elements = elements.mp_prefetch(
                # One finished batch waits in shared memory per process: /dev/shm is 64 MB in many containers.
                grain.MultiprocessingOptions(num_workers=processes, per_worker_buffer_size=1),
                worker_init_fn=functools.partial(_start_worker, os.getpid()),
            )
        self._elements: grain.DatasetIterator | None = iter(elements)
        self._exhausted = False
        self._in_shared_memory = processes > 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._elements is None:
            if self._exhausted:
                raise StopIteration
            raise ValueError('This iterator over batches is closed; make a new one that starts at the wanted step.')
        try:
            batch, process, skipped = next(self._elements)
        except BaseException as error:
            self._exhausted = isinstance(error, StopIteration)
            self.close()
            raise
        self._skipped[int(process)] = max(int(skipped), self._skipped.get(int(process), 0))
        if self._in_shared_memory:  # which grain frees in its own time, and JAX may use an array where it lies
            batch = {name: np.array(value, subok=False) for name, value in batch.items()}
        return batch

    def __enter__(self) -> 'BatchIterator[Batch]':
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def skipped(self) -> int:
        """Frames that neighbours replaced, in all processes, up to the newest batch."""
        return sum(self._skipped.values())

    def start(self) -> None:
        """Begins to make batches, for example while the step compiles; `next` does it otherwise."""
        if self._elements is not None:
            self._elements.start_prefetch()

    def close(self) -> None:
        """Stops threads and processes. May be called twice."""
        elements, self._elements = self._elements, None
        if elements is not None:
            elements.close()


def _load(load: Callable[[Any], Batch], store: frame_store.Counter, item: Any) -> tuple[Batch, int, int]:
    # The total of this process, not the share of this batch: threads work on several batches at once.
    return load(item), os.getpid(), store.skipped


def _start_worker(parent: int, worker: int, num_workers: int) -> None:
    """Leaves Ctrl-C and SIGTERM, which reach the whole group, to the parent; ends when the parent is killed."""
    del worker, num_workers
    jax.config.update('jax_platforms', 'cpu')  # flow may be computed here; the accelerator is the parent's
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)
