"""The dataset as downloaded: frames are read from their image files, flow is computed from them, when asked for."""

import dataclasses
import functools
import os
import pathlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from jaxreid import config
from jaxreid.data.flow import cache as flow_cache
from jaxreid.data.flow import file as flow_file
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import damaged_frames
from jaxreid.data.tracklets import frame_decode
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.process import paths

_WHOLE, _NAMED = 1, 2  # no hole was found | named as damaged


class StoreError(ValueError):
    """What holds the frames is not what it should be: unlike a corrupt frame, no policy passes over it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How frames are read and their flow is made, whatever store they come from."""

    height: int  # of every frame, in pixels
    width: int
    resize: str  # 'bicubic' or 'bilinear', see `frame_decode.decode`
    # 'error', or 'skip_frame': the nearest readable frame of the tracklet takes the place of one that cannot be read,
    # and `skipped` counts it
    on_corrupt: str
    damaged: str = ''  # file that the names of replaced frames are added to; '' names none
    flow: str = 'off'  # 'off', 'tvl1' or 'zeros': what `read_flow` gives
    flow_engine: str = 'opencv'  # or 'jax': what computes it, see `optical_flow`
    flow_folder: str = ''  # keeps computed flow between runs, one file per frame; '' keeps nothing on disk
    # keeps computed flow; may be shared by stores of the same root and policy
    cache: flow_cache.FlowCache = dataclasses.field(default_factory=lambda: flow_cache.FlowCache(0))

    def __post_init__(self):
        for path, value in (
            ('data.flow', self.flow),
            ('data.flow_engine', self.flow_engine),
            ('data.on_corrupt_train', self.on_corrupt),  # or _eval
        ):
            if value not in config.choices(path):
                raise config.unknown(path, value)


class FolderStore:
    """Frames of tracklets, read from single image files. Used from several threads and pickled into processes."""

    def __init__(self, root: str | os.PathLike, tracklets: Sequence[tracklet_lib.Tracklet], how: Reading):
        """Opens nothing; the frames' paths start from `root`."""
        self._root = os.fspath(root)
        self._tracklets = tracklets
        self._how = how
        self.frame_shape = (how.height, how.width, 3)
        self.skipped = 0  # frames replaced so far, by this object in this process
        self._lock = threading.Lock()
        self._found: dict[int, bytearray] = {}  # row -> by frame: _WHOLE, _NAMED, or 0 where it was not read yet
        frame_decode.one_thread_each()

    def __getstate__(self):
        return {
            **self.__dict__,
            '_lock': None,
            '_found': {},
            'skipped': 0,
        }  # a lock cannot be pickled; each process counts its own

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()
        frame_decode.one_thread_each()

    def read(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """Frames [T, H, W, 3] uint8 RGB of the tracklet in a row, at positions `frames` [T] in any order, repeated or
        not.

        Raises:
          ValueError: a frame is missing or corrupt and `on_corrupt` is 'error', or none of the tracklet is readable.
        """
        images: dict[int, np.ndarray] = {}
        for frame in frames.tolist():
            if frame not in images:
                images[frame] = self._read_one(tracklet, frame)
        return np.stack([images[frame] for frame in frames.tolist()])

    def stored_size(self, tracklet: int, frame: int) -> tuple[int, int] | None:
        """Height and width of a frame as it is stored; None where it cannot be read."""
        try:
            height, width, _ = frame_decode.decode_as_stored(self._bytes(tracklet, frame)).shape
        except (OSError, ValueError):
            return None
        return height, width

    def read_flow(self, tracklet: int, frames: np.ndarray) -> np.ndarray:
        """Optical flow [T, H, W, 2] float16 from frames of one tracklet, asked for as of `read`, to those that follow
        them in the tracklet: (u, v) in pixels of the resized frame, to the right and downwards; read or computed.

        It is the flow between the images that `read` would give, computed in their own size and resized with them (by
        JAX, in the resized frames). The last frame repeats the flow of the one before (unless `Tracklet.next_frame`
        says what follows); a lone frame has none, zeros.

        Raises:
          ValueError: as `read`, for the frame or the one that follows; or the store was opened without flow.
        """
        return np.stack(self.read_flows([(tracklet, frame) for frame in frames.tolist()]))

    def read_flows(self, wanted: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """`read_flow` of single frames of any tracklets, (row, position); what is missing is computed together."""
        nothing = np.zeros((*self.frame_shape[:2], 2), np.float16)
        match self._how.flow:
            case 'tvl1':
                starts = [(row, self._flow_start(row, frame)) for row, frame in wanted]
                # By the tracklet, since stores share the cache; pieces of a tracklet are tracklets of their own.
                keys = [(self._tracklets[row], start, self.frame_shape, self._how.flow_engine) for row, start in starts]
                made_from = {key: (row, start) for key, (row, start) in zip(keys, starts, strict=True)
                             if start is not None}  # fmt: skip
                flows = self._how.cache.get(
                    list(made_from), lambda missing: self._compute_flows([made_from[key] for key in missing])
                )
                flow_of = dict(zip(made_from, flows, strict=True))
                return [flow_of.get(key, nothing) for key in keys]
            case 'zeros':
                return [nothing] * len(wanted)
            case _:
                raise ValueError('This store gives no optical flow; set data.flow to tvl1 or zeros.')

    def _flow_start(self, row: int, frame: int) -> int | None:
        """The frame whose flow to the next one stands for that of `frame`; None where there is none."""
        tracklet = self._tracklets[row]
        last = len(tracklet.frames) - (not tracklet.next_frame)
        return min(frame, last - 1) if last else None

    def _compute_flows(self, starts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Flow from frames (row, position) to the next ones: that made earlier, and the rest together."""
        height, width, _ = self.frame_shape
        decode = optical_flow.decoder(self._how.flow_engine, height=height, width=width)
        flows: dict[tuple[int, int], np.ndarray] = {}
        pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        lasting = []  # made of the very frames, and no neighbours
        for row, first in starts:
            if (stored := self._stored_flow(row, first)) is not None:
                flows[row, first] = stored
                continue
            image, replaced = self._readable(row, first, decode)
            following, following_replaced = self._readable(row, first + 1, decode)
            pairs[row, first] = image, following
            if not (replaced or following_replaced):
                lasting.append((row, first))
        if pairs:
            computed = optical_flow.between(
                list(pairs.values()), engine=self._how.flow_engine, height=height, width=width
            )
            flows |= zip(pairs, computed, strict=True)
        if self._how.flow_folder:
            for start in lasting:
                flow_file.write(self._flow_file(*start), flows[start])
        return [flows[start] for start in starts]

    def _stored_flow(self, row: int, first: int) -> np.ndarray | None:
        """Flow from a frame of a tracklet to the next, made earlier."""
        if not self._how.flow_folder:
            return None
        height, width, _ = self.frame_shape
        return flow_file.read(self._flow_file(row, first), height=height, width=width)

    def _flow_file(self, row: int, first: int) -> pathlib.Path:
        height, width, _ = self.frame_shape
        pair = self._path(row, first), self._path(row, first + 1)
        return flow_file.path(self._how.flow_folder, *pair, height=height, width=width, engine=self._how.flow_engine)

    def _read_one(self, tracklet: int, frame: int) -> np.ndarray:
        height, width, _ = self.frame_shape
        decode = functools.partial(frame_decode.decode, height=height, width=width, resize=self._how.resize)
        image, replaced = self._readable(tracklet, frame, decode)
        if replaced:
            with self._lock:
                self.skipped += 1
        return image

    def _readable(self, row: int, frame: int, decode: Callable[..., np.ndarray]) -> tuple[np.ndarray, bool]:
        """The decoded frame, or its nearest readable neighbour; and whether it is the neighbour."""
        try:
            return self._decoded(row, frame, decode), False
        except StoreError:
            raise
        except (OSError, ValueError) as e:
            error = e
            problem = f'{self._where(row, frame)}: {error}'
            if self._how.on_corrupt == 'error':
                raise ValueError(
                    f'Unreadable frame {problem}. Restore the file, or let a neighbouring frame take its place '
                    '(data.on_corrupt_train or data.on_corrupt_eval = skip_frame).'
                ) from e
        self._name_damaged(row, frame, error)
        # Nearest first; of two as near, the earlier one. `next_frame` replaces no other: `read` knows nothing of it.
        tracklet = self._tracklets[row]
        count = max(len(tracklet.frames), frame + 1)
        for other in sorted(range(count), key=lambda position: abs(position - frame)):
            if other == frame:
                continue
            try:
                return self._decoded(row, other, decode), True
            except StoreError:
                raise
            except (OSError, ValueError):
                continue
        raise ValueError(f'No frame of tracklet {tracklet.name} ({count} frames) can be read, first {problem}.')

    def _decoded(self, row: int, frame: int, decode: Callable[..., np.ndarray]) -> np.ndarray:
        """A frame, looked through for holes the first time."""
        data = self._bytes(row, frame)
        seen = self._seen(row)
        image = decode(data, known_whole=seen[frame] == _WHOLE)
        seen[frame] = _WHOLE
        return image

    def _name_damaged(self, row: int, frame: int, problem: Exception) -> None:
        with self._lock:
            known, self._seen(row)[frame] = self._seen(row)[frame], _NAMED
        if self._how.damaged and known != _NAMED:
            damaged_frames.note(self._how.damaged, self._where(row, frame), problem)

    def _seen(self, row: int) -> bytearray:
        return self._found.setdefault(row, bytearray(len(self._tracklets[row].frames) + 1))

    def _path(self, row: int, frame: int) -> str:
        tracklet = self._tracklets[row]
        return tracklet.frames[frame] if frame < len(tracklet.frames) else tracklet.next_frame

    def _where(self, row: int, frame: int) -> str:
        """Names a frame in messages."""
        return os.path.join(self._root, self._path(row, frame))

    def _bytes(self, row: int, frame: int) -> bytes:
        """Of the image; `frame` may be the one after the tracklet's last, where `Tracklet.next_frame` names it."""
        return paths.content(self._where(row, frame))
