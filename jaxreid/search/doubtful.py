"""Features that mean nothing, of zeros or of another tracklet as well, seen while a search reads them."""

import numpy as np

from jaxreid.evaluation import sanity
from jaxreid.process import digest
from jaxreid.search import tracklets

_TAKEN = 1024  # rows compared at a time


class Seen:
    """What the features of some tracklets look like: all of them are read once, anyhow."""

    def __init__(self, of: tracklets.Tracklets):
        """`features` is what has to be read for it."""
        self._of = of
        self._sums = np.zeros(len(of), np.uint32)
        self.features = of.features.watched(self._see)

    def _see(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._sums[rows] = digest.of_rows(values.astype(np.float32, copy=False))

    def warnings(self) -> list[str]:
        """A sentence for zeros, and one for copies, with how many there are and the first; none where all are sound."""
        _, group, size = np.unique(self._sums, return_inverse=True, return_counts=True)
        alike = np.flatnonzero((size[group] > 1) | (self._sums == 0))  # others may have the sum by chance
        parts = [self._of.features.take(alike[i : i + _TAKEN]) for i in range(0, len(alike), _TAKEN)]
        zeros = np.concatenate([np.zeros(0, bool), *(~part.any(axis=1) for part in parts)])
        hashes = [hash(row.tobytes()) for part in parts for row in part]
        again = np.delete(np.arange(len(alike)), np.unique(hashes, return_index=True)[1])
        said = []
        for rows, what in (
            (alike[zeros], 'have features of zeros only, which are like nothing'),
            (alike[again[~zeros[again]]], 'repeat the features of another one'),
        ):
            if len(rows):
                names = sanity.first_names([self._of.name[row] for row in rows[: sanity.NAMED + 1]])
                said.append(
                    f'{len(rows):,} of the {len(self._of):,} tracklets of {self._of.where} {what} (first: {names})'
                )
        return said
