"""Rows of features in memory or in files on disk that are mapped only while they are read."""

import bisect
import functools
import itertools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from jaxreid.process import array_file


class Rows:
    """[N, D] float, in parts that lie behind each other; never held as a whole."""

    def __init__(
        self,
        opens: Sequence[Callable[[], np.ndarray]],
        lengths: Sequence[int],
        *,
        dim: int | None,
        check: Callable[[int, np.ndarray, np.ndarray], None] = lambda part, rows, values: None,
    ):
        """`opens` gives each part [n, D] when called, `lengths` says n; a `dim` of None is found by calling.

        `check` gets whatever was read: the number of the part, rows of it [m] and their values [m, D].
        """
        self._opens, self._check = opens, check
        self._ends = list(itertools.accumulate(lengths))
        self._dim = dim

    @classmethod
    def of(cls, array: np.ndarray) -> 'Rows':
        """Of one array [N, D] in memory."""
        return cls([lambda: array], [len(array)], dim=array.shape[1])

    @classmethod
    def later(cls, extract: Callable[[], np.ndarray], length: int) -> 'Rows':
        """Of an array [length, D] that is made when it is first needed, and then kept."""
        return cls([functools.cache(extract)], [length], dim=None)

    @classmethod
    def files(cls, paths: Sequence[pathlib.Path], lengths: Sequence[int], **how) -> 'Rows':
        """Of .npy files. A file is mapped while a piece of it is copied: pages that stay mapped count as memory."""
        return cls([functools.partial(array_file.npy, path, mapped=True) for path in paths], lengths, **how)

    def watched(self, see: Callable[[np.ndarray, np.ndarray], None]) -> 'Rows':
        """The same rows; `see` gets whatever is read of them, their numbers [m] and values [m, D]."""

        def check(part: int, rows: np.ndarray, values: np.ndarray) -> None:
            self._check(part, rows, values)
            see(rows + (self._ends[part - 1] if part else 0), values)

        lengths = np.diff([0, *self._ends]).tolist()
        return Rows(self._opens, lengths, dim=self._dim, check=check)

    @property
    def at_hand(self) -> bool:
        """Whether nothing has to be extracted to read them."""
        return self._dim is not None

    @property
    def dim(self) -> int:
        """D."""
        if self._dim is None:
            self._dim = self._opens[0]().shape[1]
        return self._dim

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start ... stop - 1: [n, D], a copy."""
        pieces, part = [], bisect.bisect_right(self._ends, start)
        while start < min(stop, len(self)):
            array = self._opens[part]()
            first = self._ends[part] - len(array)
            pieces.append(np.array(array[start - first : stop - first]))
            self._check(part, np.arange(start - first, start - first + len(pieces[-1])), pieces[-1])
            start, part = self._ends[part], part + 1
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros((0, self.dim), np.float32), *pieces])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Single rows: [len(indices), D]."""
        part = np.searchsorted(self._ends, indices, side='right')
        taken = [np.zeros((0, self.dim), np.float32)]
        order = [np.zeros(0, np.int64)]
        for number in np.unique(part):
            places = np.flatnonzero(part == number)
            array = self._opens[number]()
            rows = indices[places] - (self._ends[number] - len(array))
            taken.append(np.asarray(array[rows]))
            self._check(number, rows, taken[-1])
            order.append(places)
        return np.concatenate(taken)[np.argsort(np.concatenate(order))]
