"""The dataset as downloaded: frames are read from their image files when asked for."""

import os
import threading
from collections.abc import Sequence

import numpy as np

from jaxreid.data import frame_decode
from jaxreid.data import tracklet as tracklet_lib


class FolderStore:
    """Frames of tracklets, read from single image files. Used from several threads and pickled into processes."""

    def __init__(
        self,
        root: str | os.PathLike,
        tracklets: Sequence[tracklet_lib.Tracklet],
        *,
        height: int,
        width: int,
        resize: str,
        on_corrupt: str,
    ):
        """Opens nothing.

        Args:
          root: folder that the frames' paths start from.
          tracklets: what `read` counts.
          height, width: of every frame, in pixels.
          resize: 'bicubic' or 'bilinear', see `frame_decode.decode`.
          on_corrupt: 'error', or 'skip_frame': the nearest readable frame of the tracklet takes the place of one that
            cannot be read, and `skipped` counts it.
        """
        if on_corrupt not in ('error', 'skip_frame'):
            raise ValueError(f"on_corrupt is '{on_corrupt}'; expected 'error' or 'skip_frame'.")
        self._root = os.fspath(root)
        self._tracklets = tracklets
        self.frame_shape = (height, width, 3)
        self._resize = resize
        self._on_corrupt = on_corrupt
        self.skipped = 0  # frames replaced so far, by this object in this process
        self._lock = threading.Lock()
        frame_decode.one_thread_each()

    def __getstate__(self):
        return {**self.__dict__, '_lock': None, 'skipped': 0}  # a lock cannot be pickled; each process counts its own

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()
        frame_decode.one_thread_each()

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """Reads frames of one tracklet.

        Args:
          tracklet: row in the list of tracklets.
          frames: [T] integers, positions in the tracklet in any order, repeated or not.

        Returns:
          [T, H, W, 3] uint8, RGB.

        Raises:
          ValueError: a frame is missing or corrupt and `on_corrupt` is 'error', or none of the tracklet is readable.
        """
        images: dict[int, np.ndarray] = {}
        for frame in frames.tolist():
            if frame not in images:
                images[frame] = self._read_one(tracklet, frame)
        return np.stack([images[frame] for frame in frames.tolist()])

    def _read_one(self, tracklet: int, frame: int) -> np.ndarray:
        paths = self._tracklets[tracklet].frames
        try:
            return self._decode(paths[frame])
        except (OSError, ValueError) as error:
            problem = f'{os.path.join(self._root, paths[frame])}: {error}'
            if self._on_corrupt == 'error':
                raise ValueError(
                    f'Unreadable frame {problem}. Restore the file, or let a neighbouring frame take its place '
                    '(data.on_corrupt_train or data.on_corrupt_eval = skip_frame).'
                ) from error
        # Nearest first; of two as near, the earlier one.
        for other in sorted(range(len(paths)), key=lambda position: abs(position - frame)):
            if other == frame:
                continue
            try:
                image = self._decode(paths[other])
            except (OSError, ValueError):
                continue
            with self._lock:
                self.skipped += 1
            return image
        raise ValueError(
            f'No frame of tracklet {self._tracklets[tracklet].name} ({len(paths)} frames) can be read, first {problem}.'
        )

    def _decode(self, path: str) -> np.ndarray:
        with open(os.path.join(self._root, path), 'rb') as file:
            data = file.read()
        height, width, _ = self.frame_shape
        return frame_decode.decode(data, height=height, width=width, resize=self._resize)
