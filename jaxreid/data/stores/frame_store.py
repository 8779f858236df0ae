"""What every store of frames answers: batches are made from it, wherever the frames lie."""

from typing import Any, Protocol


class Counter(Protocol):
    """Counts the corrupt frames that neighbours replaced."""

    @property
    def skipped(self) -> int: ...  # in this process, so far


class Store(Counter, Protocol):
    """Answers (tracklet, frames) with pixels; `folder_store.FolderStore` tells shapes and errors."""

    frame_shape: tuple[int, int, int]  # H, W, 3

    def read(self, tracklet: int, frames: Any) -> Any: ...

    def read_flow(self, tracklet: int, frames: Any) -> Any: ...  # asked for where data.flow is not 'off' only
