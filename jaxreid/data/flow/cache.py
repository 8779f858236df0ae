"""Computed flow kept in memory: each is made once, the ones longest unused leave when the room is used up."""

import collections
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent import futures
from typing import TypeVar

import numpy as np

Key = TypeVar('Key', bound=Hashable)


class FlowCache:
    """Least recently used arrays of up to `max_bytes` together. Used from several threads; a pickled copy is empty."""

    def __init__(self, max_bytes: int):
        """Begins empty; keeps up to `max_bytes` of all arrays together, 0 keeps none."""
        self._max_bytes = max_bytes
        self._begin()

    def _begin(self) -> None:
        self.bytes = 0  # of the kept arrays
        self._kept: collections.OrderedDict[Hashable, np.ndarray] = collections.OrderedDict()  # oldest use first
        self._at_work: dict[Hashable, futures.Future] = {}
        self._lock = threading.Lock()

    def __getstate__(self):
        return self._max_bytes

    def __setstate__(self, state):
        self._max_bytes = state
        self._begin()

    def get(self, keys: Sequence[Key], compute: Callable[[list[Key]], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """The kept arrays, and of those that are missing what `compute` makes of their keys, all in one call.

        No second thread computes the same key meanwhile.

        Args:
          keys: each all that its array depends on; repeated or not.
          compute: makes the arrays; an error of its reaches all who wait for one, and the next to ask tries again.

        The arrays are not writeable, since others get the same.
        """
        arrays: dict[Key, np.ndarray] = {}
        mine: list[Key] = []
        others: dict[Key, futures.Future] = {}
        with self._lock:
            for key in dict.fromkeys(keys):
                if key in self._kept:
                    self._kept.move_to_end(key)
                    arrays[key] = self._kept[key]
                elif key in self._at_work:
                    others[key] = self._at_work[key]
                else:
                    mine.append(key)
                    self._at_work[key] = futures.Future()
        if mine:  # before waiting, so that two who wait for each other both get on
            arrays |= zip(mine, self._compute(mine, compute), strict=True)
        arrays |= {key: promise.result() for key, promise in others.items()}
        return [arrays[key] for key in keys]

    def _compute(self, keys: list[Key], compute: Callable[[list[Key]], Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """Computes, keeps and hands to those who wait."""
        try:
            arrays = compute(keys)
        except BaseException as error:
            with self._lock:
                promises = [self._at_work.pop(key) for key in keys]
            for promise in promises:
                promise.set_exception(error)
            raise
        with self._lock:
            promises = [self._at_work.pop(key) for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                array.flags.writeable = False
                self._kept[key] = array
                self.bytes += array.nbytes
            while self.bytes > self._max_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
        for promise, array in zip(promises, arrays, strict=True):
            promise.set_result(array)
        return arrays
