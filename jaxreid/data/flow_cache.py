"""Computed flow kept in memory: each is made once, the ones longest unused leave when the room is used up."""

import collections
import threading
from collections.abc import Callable, Hashable
from concurrent import futures

import numpy as np


class FlowCache:
    """Least recently used arrays of up to `max_bytes` together. Used from several threads; a pickled copy is empty."""

    def __init__(self, max_bytes: int):
        """Begins empty.

        Args:
          max_bytes: of all kept arrays together; 0 keeps none.
        """
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

    def get(self, key: Hashable, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The kept array, or `compute()`, which no second thread runs for the same key meanwhile.

        Args:
          key: all that the array depends on.
          compute: makes the array; an error of its reaches all who wait for it, and the next to ask tries again.

        Returns:
          The array, not writeable, since others get the same.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            mine = key not in self._at_work
            promise = self._at_work.setdefault(key, futures.Future())
        if not mine:
            return promise.result()
        try:
            array = compute()
        except BaseException as error:
            with self._lock:
                del self._at_work[key]
            promise.set_exception(error)
            raise
        array.flags.writeable = False
        with self._lock:
            del self._at_work[key]
            self._kept[key] = array
            self.bytes += array.nbytes
            while self.bytes > self._max_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
        promise.set_result(array)
        return array
