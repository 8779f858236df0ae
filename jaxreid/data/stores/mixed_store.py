"""The frames of a training that mixes several data sets: every row is answered by the store that has it."""

from collections.abc import Sequence

import numpy as np

from jaxreid.data.stores import folder_store


class MixedStore:
    """Answers rows that lie in several stores."""

    def __init__(self, stores: Sequence[folder_store.FolderStore], tracklets: Sequence[int]):
        """Of stores of one frame shape, and how many `tracklets` each of them has."""
        self._stores = list(stores)
        self._ends = np.cumsum(tracklets)
        self.frame_shape = self._stores[0].frame_shape

    @property
    def skipped(self) -> int:
        """Frames that a neighbour replaced, by all stores in this process."""
        return sum(store.skipped for store in self._stores)

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8, as the store that has the tracklet reads it."""
        store, row = self._find(tracklet)
        return store.read(row, frames)

    def stored_size(self, tracklet: int, frame: int) -> tuple[int, int] | None:
        """As the store that has the tracklet."""
        store, row = self._find(tracklet)
        return store.stored_size(row, frame)

    def read_flow(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 2] float16, likewise."""
        store, row = self._find(tracklet)
        return store.read_flow(row, frames)

    def _find(self, tracklet: int) -> tuple[folder_store.FolderStore, int]:
        number = int(np.searchsorted(self._ends, tracklet, side='right'))
        return self._stores[number], tracklet - (int(self._ends[number - 1]) if number else 0)
