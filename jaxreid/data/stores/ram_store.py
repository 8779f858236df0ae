"""Decoded training frames in the memory of this host: decoded once, by all its processes together, then only copied."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxreid.data.stores import frame_store, packed_frames
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.process import host_memory, shared_memory


class RamStore:
    """All frames of the tracklets as one uint8 array, shared by threads and by the processes that train on this host;
    a further process (`data.processes`) would copy it.
    """

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

        All processes of a run must do it together; those of one host take turns at the pieces.

        Raises:
          ValueError: there is not enough memory, or a frame is corrupt and the store's policy is 'error'.
        """
        height, width, _ = self.frame_shape = store.frame_shape
        self._packing = packing = packed_frames.Packing.of(tracklets, height, width, with_flow=with_flow)
        packed_frames.check_fits(
            packing.num_rows * packing.row_bytes, host_memory.available_bytes(), where='the memory of this host'
        )
        memory, here = shared_memory.allocate(packing.num_rows * packing.row_bytes)
        self._frames = memory.reshape(packing.num_rows, packing.row_bytes)
        pieces = range(0, packing.num_rows, packing.chunk_rows)[here.index(jax.process_index()) :: len(here)]
        rows = sum(min(packing.chunk_rows, packing.num_rows - start) for start in pieces)
        failed: Exception | None = None
        with packed_frames.Decoder(store, packing, num_rows=rows, threads=threads, progress=progress) as decoder:
            try:
                for start in pieces:
                    decoder.decode(start, self._frames[start : start + packing.chunk_rows])
            except Exception as error:
                failed = error
        skipped = shared_memory.everyone(-1 if failed else store.skipped)  # waits for the others too
        if failed:
            raise failed
        if -1 in skipped:
            raise ValueError(f'process {skipped.index(-1)} could not decode the training frames; it says why')
        self.skipped = sum(skipped[process] for process in here)  # frames of the split that a neighbour replaced

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8, as `folder_store.FolderStore.read`."""
        rows = self._packing.first_row[tracklet] + frames
        return self._frames[rows, : self._packing.image_bytes].reshape(-1, *self.frame_shape)

    def read_flow(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 2] float16, as `folder_store.FolderStore.read_flow`."""
        rows = self._packing.first_row[tracklet] + frames
        return self._frames[rows, self._packing.image_bytes :].view(np.float16).reshape(-1, *self.frame_shape[:2], 2)
