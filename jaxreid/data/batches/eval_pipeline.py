"""Evaluation batches: clips of many tracklets side by side. All of one shape, or of few where clips are tracklets."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TypedDict

import jax
import numpy as np

from jaxreid import config, sharding
from jaxreid.data.batches import batch as batch_lib
from jaxreid.data.batches import batch_iterator, clip_sampling
from jaxreid.data.stores import frame_store
from jaxreid.data.tracklets import tracklet


class _Item(TypedDict):
    """One process's share of a batch, before its pixels."""

    tracklet: np.ndarray  # [b] int32, 0 where not valid
    frames: np.ndarray  # [b, T] int64
    valid: np.ndarray  # [b] bool
    lengths: np.ndarray | None  # [b] int32, or None where all T frames count


def count(
    tracklets: Sequence[tracklet.Tracklet], *, clips: str, frames: int, batch_clips: int, multiple_of: int = 1
) -> int:
    """How many batches `batches` gives, on every process."""
    if clips == 'whole':
        return len(_whole_batches(tracklets, frames=frames, batch_clips=batch_clips, multiple_of=multiple_of))
    return -(-int(_clips_per_tracklet(tracklets, clips=clips, frames=frames).sum()) // batch_clips)


def frames_seen(
    tracklets: Sequence[tracklet.Tracklet], *, clips: str, frames: int, seed: int = 0, one_frame: bool = False
) -> int:
    """How many different frames of the tracklets are in their clips; repeated and padded ones count once.

    Arguments as of `batches`; `one_frame`: of every clip the first frame only.
    """
    seen = 0
    for row, one in enumerate(tracklets):
        positions = clip_sampling.test_clips(len(one.frames), kind=clips, frames=frames, seed=seed, row=row)
        seen += len(np.unique(positions[:, :1] if one_frame else positions))
    return seen


def batches(
    tracklets: Sequence[tracklet.Tracklet],
    store: frame_store.Store,
    experiment: config.Experiment,
    *,
    clips: str = '',
    mesh: jax.sharding.Mesh | None = None,
) -> batch_iterator.BatchIterator[batch_lib.EvalBatch]:
    """All clips of all tracklets in order, in batches of one shape; the last is padded with rows that are not valid.

    A pass holds a few batches in memory, however long a tracklet is: its clips may lie in several batches.

    Clips 'whole' are the exception. A tracklet is one clip, padded by its last frame to T * 2^k frames; `lengths` says
    how many are its own (1 in rows that are not valid). Tracklets of one k, in order, share batches of
    B = batch_clips / 2^k rows (rounded down to a multiple of the number of devices, at least that), so that a batch
    holds about batch_clips * T frames whatever k is; shorter tracklets come first.

    Args:
      tracklets: what to go through.
      store: answers rows of `tracklets`.
      experiment: `test` has T, B (clips of a global batch, all processes together) and the seed of random clips; of
        `data` threads, processes and prefetch are read, and whether there is flow.
      clips: as `test.clips`; '': those.
      mesh: devices that share every batch, of which this process gets the rows of its own (`sharding.local_slots`), so
        that all processes get the same number of batches; None: all rows.

    Returns:
      Iterator of EvalBatch of this process's rows; close it when done.

    Raises:
      ValueError: the batch does not split over the devices.
    """
    data, frames, batch_clips = experiment.data, experiment.test.frames, experiment.test.batch_clips
    clips = clips or experiment.test.clips
    share = np.arange if mesh is None else functools.partial(sharding.local_slots, mesh=mesh)
    items: batch_iterator.Items
    if clips == 'whole':
        devices = 1 if mesh is None else mesh.size
        whole = _whole_batches(tracklets, frames=frames, batch_clips=batch_clips, multiple_of=devices)
        items = _WholeItems(
            num_frames=_num_frames(tracklets),
            firsts=[int(rows[0]) for rows in whole],
            batches=[rows[share(len(rows))] for rows in whole],
            frames=frames,
        )
    else:
        items = _Items(
            num_frames=_num_frames(tracklets),
            ends=np.cumsum(_clips_per_tracklet(tracklets, clips=clips, frames=frames)),
            clips=clips,
            frames=frames,
            seed=experiment.test.seed,
            batch_clips=batch_clips,
            slots=share(batch_clips),
        )
    cameras = None
    if config.with_cameras(experiment, train=False):
        cameras = np.asarray([one.camera for one in tracklets], np.int32)
    load, ahead = functools.partial(_load, store, data.flow != 'off', cameras), data.prefetch
    return batch_iterator.BatchIterator(
        items, load, store, threads=data.threads, processes=data.processes, prefetch=ahead
    )


def _num_frames(tracklets: Sequence[tracklet.Tracklet]) -> np.ndarray:
    return np.asarray([len(one.frames) for one in tracklets], np.int64)


def _clips_per_tracklet(tracklets: Sequence[tracklet.Tracklet], *, clips: str, frames: int) -> np.ndarray:
    return np.asarray(
        [clip_sampling.num_test_clips(len(one.frames), kind=clips, frames=frames) for one in tracklets],
        np.int64,
    )


@dataclasses.dataclass(frozen=True)
class _Items:
    """Item i is this process's share of global batch i."""

    num_frames: np.ndarray  # [N] int64, frames per tracklet
    ends: np.ndarray  # [N] int64, clips of the tracklets up to and with this one
    clips: str
    frames: int
    seed: int
    batch_clips: int
    slots: np.ndarray  # [b] int64, this process's positions in the global batch

    def __len__(self) -> int:
        return -(-int(self.ends[-1]) // self.batch_clips) if len(self.ends) else 0

    def __getitem__(self, index: int) -> _Item:
        position = index * self.batch_clips + self.slots  # among the clips of all tracklets
        valid = position < self.ends[-1]
        rows = np.where(valid, np.searchsorted(self.ends, position, side='right'), 0)
        frames = np.zeros((len(position), self.frames), np.int64)
        for slot in np.flatnonzero(valid):
            num_frames = int(self.num_frames[rows[slot]])
            all_clips = clip_sampling.test_clips(
                num_frames, kind=self.clips, frames=self.frames, seed=self.seed, row=int(rows[slot])
            )
            frames[slot] = all_clips[position[slot] - self.ends[rows[slot]]]  # counted from the tracklet's last
        return _Item(tracklet=rows.astype(np.int32), frames=frames, valid=valid, lengths=None)


def _whole_batches(
    tracklets: Sequence[tracklet.Tracklet], *, frames: int, batch_clips: int, multiple_of: int
) -> list[np.ndarray]:
    """The global batches of clips 'whole': [B] int64 rows of `tracklets` each, -1 where there is none left."""
    lengths = np.asarray([len(clip_sampling.whole(len(t.frames), frames=frames)) for t in tracklets], np.int64)
    batches = []
    for length in np.unique(lengths):
        size = max(batch_clips * frames // int(length) // multiple_of, 1) * multiple_of
        rows = np.flatnonzero(lengths == length)
        rows = np.pad(rows, (0, -len(rows) % size), constant_values=-1)
        batches += list(rows.reshape(-1, size))
    return batches


@dataclasses.dataclass(frozen=True)
class _WholeItems:
    """Item i is this process's share of global batch i."""

    num_frames: np.ndarray  # [N] int64, frames per tracklet
    firsts: list[int]  # the first row of every batch of `_whole_batches`
    batches: list[np.ndarray]  # this process's rows of them
    frames: int

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> _Item:
        rows = self.batches[index]
        valid = rows >= 0
        # One length per batch, also where a process has no valid row in it.
        length = len(clip_sampling.whole(int(self.num_frames[self.firsts[index]]), frames=self.frames))
        lengths = np.where(valid, self.num_frames[rows], 1)
        return _Item(
            tracklet=np.where(valid, rows, 0).astype(np.int32),
            frames=np.minimum(np.arange(length)[None], lengths[:, None] - 1),
            valid=valid,
            lengths=lengths.astype(np.int32),
        )


def _load(store: frame_store.Store, with_flow: bool, cameras: np.ndarray | None, item: _Item) -> batch_lib.EvalBatch:
    shape = (*item['frames'].shape, *store.frame_shape)
    clips = np.zeros(shape, np.uint8)  # padding rows stay black
    flow = np.zeros((*shape[:-1], 2), np.float16) if with_flow else None
    for slot in np.flatnonzero(item['valid']):
        wanted = (int(item['tracklet'][slot]), item['frames'][slot])
        clips[slot] = store.read(*wanted)
        if flow is not None:
            flow[slot] = store.read_flow(*wanted)
    batch = batch_lib.EvalBatch(clips=clips, tracklet=item['tracklet'], valid=item['valid'])
    if flow is not None:
        batch['flow'] = flow
    if cameras is not None:
        batch['cameras'] = cameras[item['tracklet']]
    if item['lengths'] is not None:
        batch['lengths'] = item['lengths']
    return batch
