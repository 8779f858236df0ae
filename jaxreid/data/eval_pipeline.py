"""Evaluation batches of one shape: clips of many tracklets side by side, whatever the tracklets' lengths."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from jaxreid import batch as batch_lib
from jaxreid.data import batch_iterator, clip_sampling
from jaxreid.data import tracklet as tracklet_lib


class _Item(TypedDict):
    """One process's share of a batch, before its pixels."""

    tracklet: np.ndarray  # [b] int32, 0 where not valid
    frames: np.ndarray  # [b, T] int64
    valid: np.ndarray  # [b] bool


def count(tracklets: Sequence[tracklet_lib.Tracklet], *, clips: str, frames: int, batch_clips: int) -> int:
    """How many batches `batches` gives, on every process."""
    return -(-int(_clips_per_tracklet(tracklets, clips=clips, frames=frames).sum()) // batch_clips)


def batches(
    tracklets: Sequence[tracklet_lib.Tracklet],
    store: batch_iterator.Store,
    *,
    clips: str,
    frames: int,
    batch_clips: int,
    threads: int,
    prefetch: int,
    processes: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> batch_iterator.BatchIterator[batch_lib.EvalBatch]:
    """All clips of all tracklets in order, in batches of one shape; the last is padded with rows that are not valid.

    A pass holds a few batches in memory, however long a tracklet is: its clips may lie in several batches.

    Args:
      tracklets: what to go through.
      store: answers rows of `tracklets`.
      clips: one of config.TEST_CLIPS.
      frames: T, frames per clip.
      batch_clips: B, clips of a global batch, all processes together.
      threads, prefetch, processes: see `batch_iterator.BatchIterator`.
      process_index, process_count: this host and the number of hosts. Each gets its contiguous slice of every global
        batch, so all of them get the same number of batches.

    Returns:
      Iterator of EvalBatch with B / process_count clips; close it when done.

    Raises:
      ValueError: the batch does not split over the hosts.
    """
    if batch_clips % process_count:
        raise ValueError(
            f'{batch_clips} clips do not split over {process_count} processes; make test.batch_clips a multiple of '
            f'{process_count}.'
        )
    share = batch_clips // process_count
    ends = np.cumsum(_clips_per_tracklet(tracklets, clips=clips, frames=frames))
    plan = _Plan(
        num_frames=np.asarray([len(tracklet.frames) for tracklet in tracklets], np.int64),
        ends=ends,
        clips=clips,
        frames=frames,
        batch_clips=batch_clips,
        slots=range(process_index * share, (process_index + 1) * share),
    )
    return batch_iterator.BatchIterator(
        plan,
        functools.partial(_load, store),
        store,
        threads=threads,
        processes=processes,
        prefetch=prefetch,
    )


def _clips_per_tracklet(tracklets: Sequence[tracklet_lib.Tracklet], *, clips: str, frames: int) -> np.ndarray:
    return np.asarray(
        [clip_sampling.num_test_clips(len(tracklet.frames), kind=clips, frames=frames) for tracklet in tracklets],
        np.int64,
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Item i is this process's share of global batch i."""

    num_frames: np.ndarray  # [N] int64, frames per tracklet
    ends: np.ndarray  # [N] int64, clips of the tracklets up to and with this one
    clips: str
    frames: int
    batch_clips: int
    slots: range  # this process's positions in the global batch

    def __len__(self) -> int:
        return -(-int(self.ends[-1]) // self.batch_clips) if len(self.ends) else 0

    def __getitem__(self, index: int) -> _Item:
        position = index * self.batch_clips + np.asarray(self.slots)  # among the clips of all tracklets
        valid = position < self.ends[-1]
        tracklet = np.where(valid, np.searchsorted(self.ends, position, side='right'), 0)
        frames = np.zeros((len(position), self.frames), np.int64)
        for slot in np.flatnonzero(valid):
            num_frames = int(self.num_frames[tracklet[slot]])
            all_clips = clip_sampling.test_clips(num_frames, kind=self.clips, frames=self.frames)
            frames[slot] = all_clips[position[slot] - self.ends[tracklet[slot]]]  # counted from the tracklet's last
        return _Item(tracklet=tracklet.astype(np.int32), frames=frames, valid=valid)


def _load(store: batch_iterator.Store, item: _Item) -> batch_lib.EvalBatch:
    clips = np.zeros((*item['frames'].shape, *store.frame_shape), np.uint8)  # padding stays black
    for slot in np.flatnonzero(item['valid']):
        clips[slot] = store.read(int(item['tracklet'][slot]), item['frames'][slot])
    return batch_lib.EvalBatch(clips=clips, tracklet=item['tracklet'], valid=item['valid'])
