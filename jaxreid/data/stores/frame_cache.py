"""Frames that several passes over a test split read, decoded once as far as memory allows."""

import numpy as np

from jaxreid.data.stores import frame_store


class FrameCache:
    """A store that keeps what it has read. Shared by threads; a further process would have a cache of its own."""

    def __init__(self, store: frame_store.Store, *, budget: int):
        """Keeps at most `budget` bytes of the frames of `store`: the first that are read. Flow is not kept."""
        self.frame_shape = store.frame_shape
        self.read_flow = store.read_flow
        self._store = store
        self._left = budget // int(np.prod(store.frame_shape))
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    @property
    def skipped(self) -> int:
        """Frames of the store that a neighbour replaced when they were decoded."""
        return self._store.skipped

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8, as `folder_store.FolderStore.read`."""
        wanted = np.asarray(frames).tolist()
        images = {frame: kept for frame in wanted if (kept := self._kept.get((tracklet, frame))) is not None}
        missing = [frame for frame in dict.fromkeys(wanted) if frame not in images]
        if missing:
            for frame, image in zip(missing, self._store.read(tracklet, np.array(missing)), strict=True):
                images[frame] = image
                if len(self._kept) < self._left:
                    self._kept[tracklet, frame] = image.copy()  # a view would hold the whole clip
        return np.stack([images[frame] for frame in wanted])
