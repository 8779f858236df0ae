"""All frames of a split as rows of bytes: what the stores that decode once have in common.

A row is a decoded frame, [H, W, 3] uint8, and where there is flow its [H, W, 2] float16 behind it. Rows are flat
because accelerators pad the last axes of an array: three channels would take the room of 128 on a TPU.
"""

import dataclasses
from collections.abc import Sequence
from concurrent import futures

import numpy as np
import tqdm

from jaxreid.data.stores import frame_store
from jaxreid.data.tracklets import tracklet as tracklet_lib

_CHUNK_BYTES = 2**26  # decoded between two looks at errors and signals, and what is on its way to a device
_TASK_ROWS = (
    64  # of one tracklet that a thread asks for at once: stores of whole tracklets read them once, and not often
)


@dataclasses.dataclass(frozen=True)
class Packing:
    """Where the frame of a tracklet lies, and how."""

    first_row: np.ndarray  # [N + 1] int64, row of each tracklet's first frame; the last is the number of rows
    height: int
    width: int
    with_flow: bool

    @classmethod
    def of(cls, tracklets: Sequence[tracklet_lib.Tracklet], height: int, width: int, *, with_flow: bool) -> 'Packing':
        """Tracklets one after the other. Pieces that share frames hold each its own: what replaces a corrupt frame
        depends on the piece."""
        ends = np.cumsum([0] + [len(tracklet.frames) for tracklet in tracklets])
        return cls(first_row=ends, height=height, width=width, with_flow=with_flow)

    @property
    def num_rows(self) -> int:
        """Frames of all tracklets."""
        return int(self.first_row[-1])

    @property
    def image_bytes(self) -> int:
        """Of a frame's pixels, without its flow."""
        return self.height * self.width * 3

    @property
    def row_bytes(self) -> int:
        """Of a frame with its flow."""
        return self.image_bytes + self.with_flow * self.height * self.width * 4

    @property
    def chunk_rows(self) -> int:
        """Rows that are decoded together."""
        return max(1, _CHUNK_BYTES // self.row_bytes)

    def rows(self, tracklet: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """[b] tracklets and [b, T] positions in them -> [b, T] int32 rows."""
        return (self.first_row[tracklet][:, None] + frames).astype(np.int32)


class Decoder:
    """Threads that fill rows from another store, behind one progress bar."""

    def __init__(self, store: frame_store.Store, packing: Packing, *, num_rows: int, threads: int, progress: bool):
        """`num_rows`: how many will be asked for in all."""
        self._store = store
        self._packing = packing
        self._pool = futures.ThreadPoolExecutor(threads, 'decode')
        self._bar = tqdm.tqdm(total=num_rows, desc='decode', unit='frame', disable=not progress, mininterval=0.5)

    def __enter__(self) -> 'Decoder':
        return self

    def __exit__(self, *exception) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._bar.close()

    def decode(self, start: int, out: np.ndarray) -> None:
        """Writes rows `start`, `start + 1`, ... into `out`, [rows, row_bytes] uint8; errors as the store's."""
        packing, store = self._packing, self._store
        stop = start + len(out)
        inside = packing.first_row[(packing.first_row > start) & (packing.first_row < stop)]
        cuts = np.unique(np.concatenate([np.arange(start, stop, _TASK_ROWS), inside, [stop]]))

        def some(begin: int, end: int) -> int:
            tracklet = int(np.searchsorted(packing.first_row, begin, side='right')) - 1
            frames = np.arange(begin, end) - packing.first_row[tracklet]
            rows = out[begin - start : end - start]
            rows[:, : packing.image_bytes] = store.read(tracklet, frames).reshape(len(rows), -1)
            if packing.with_flow:
                rows[:, packing.image_bytes :] = store.read_flow(tracklet, frames).reshape(len(rows), -1).view(np.uint8)
            return len(rows)

        for rows in self._pool.map(some, cuts[:-1], cuts[1:]):
            self._bar.update(rows)


def check_fits(needed: int, available: int, *, where: str) -> None:
    """Raises ValueError where so many bytes are not free."""
    if needed > available:
        raise ValueError(
            f'The decoded training frames need {needed:,} bytes ({needed / 2**30:.2f} GiB) of {where}, of which '
            f'{available:,} ({max(available, 0) / 2**30:.2f} GiB) are free; nothing is decoded yet. Choose '
            '--config.data.store=folder or records, which need none, ram, which needs memory of the host, or device on '
            'more devices.'
        )
