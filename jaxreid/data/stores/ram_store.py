"""Decoded training frames in the memory of this host: decoded once, then only copied."""

from collections.abc import Sequence

import numpy as np

from jaxreid.data.stores import frame_store, packed_frames
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.process import host_memory


class RamStore:
    """All frames of the tracklets as one uint8 array. Shared by threads; a further process would copy it."""

    def __init__(
        self,
        store: frame_store.Store,
        tracklets: Sequence[tracklet_lib.Tracklet],
        *,
        with_flow: bool,
        threads: int,
        progress: bool,
    ):
        """Decodes all frames of the tracklets that `store` counts, with their flow where asked, in so many threads.

        Raises:
          ValueError: there is not enough memory, or a frame is corrupt and the store's policy is 'error'.
        """
        height, width, _ = self.frame_shape = store.frame_shape
        self._packing = packing = packed_frames.Packing.of(tracklets, height, width, with_flow=with_flow)
        packed_frames.check_fits(
            packing.num_rows * packing.row_bytes, host_memory.available_bytes(), where='the memory of this host'
        )
        self._frames = np.empty((packing.num_rows, packing.row_bytes), np.uint8)
        with packed_frames.Decoder(
            store, packing, num_rows=packing.num_rows, threads=threads, progress=progress
        ) as decoder:
            for start in range(0, packing.num_rows, packing.chunk_rows):
                decoder.decode(start, self._frames[start : start + packing.chunk_rows])
        self.skipped = store.skipped  # frames of the split that a neighbour replaced

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8, as `folder_store.FolderStore.read`."""
        rows = self._packing.first_row[tracklet] + frames
        return self._frames[rows, : self._packing.image_bytes].reshape(-1, *self.frame_shape)

    def read_flow(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 2] float16, as `folder_store.FolderStore.read_flow`."""
        rows = self._packing.first_row[tracklet] + frames
        return self._frames[rows, self._packing.image_bytes :].view(np.float16).reshape(-1, *self.frame_shape[:2], 2)
