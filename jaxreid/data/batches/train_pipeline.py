"""Training batches as a function of (seed, step): sampler -> clips -> decoded uint8, made ahead of the step."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import jax
import numpy as np

from jaxreid import config, sharding
from jaxreid.data.batches import batch as batch_lib
from jaxreid.data.batches import batch_iterator, clip_sampling, identity_sampling
from jaxreid.data.stores import device_store, frame_store, packed_frames
from jaxreid.data.tracklets import tracklet

_ENDLESS = 2**40  # steps; who trains decides when to stop


class _Item(TypedDict):
    """One process's share of a batch, before its pixels."""

    tracklets: np.ndarray  # [b] int32, rows of the training tracklets
    frames: np.ndarray  # [b, T] int64, positions in the tracklet
    index: np.ndarray  # [b] int32, positions in the global batch


def sampler(tracklets: Sequence[tracklet.Tracklet], experiment: config.Experiment) -> identity_sampling.IdentitySampler:
    """The sampler of an experiment; its `steps_per_epoch` is what schedules count with."""
    return identity_sampling.IdentitySampler(
        [one.pid for one in tracklets],
        [one.camera for one in tracklets],
        kind=experiment.sampler.kind,
        num_ids=experiment.sampler.num_ids,
        tracklets_per_id=experiment.sampler.tracklets_per_id,
        seed=experiment.train.seed,
    )


def batches(
    tracklets: Sequence[tracklet.Tracklet],
    store: frame_store.Store | device_store.DeviceStore,
    labels: Mapping[int, int],
    experiment: config.Experiment,
    *,
    start_step: int,
    mesh: jax.sharding.Mesh | None = None,
) -> batch_iterator.BatchIterator[batch_lib.TrainBatch | batch_lib.TrainRows]:
    """Endless batches from `start_step` on; the batch of a step does not depend on where the run started.

    Args:
      tracklets: the training split.
      store: answers rows of `tracklets`.
      labels: person id -> label, see `tracklet.label_map`.
      experiment: sampler, seed, flow, threads, processes and prefetch are read.
      start_step: global step of the first batch.
      mesh: devices that share every batch, of which this process gets the rows of its own (`sharding.local_slots`);
        None: all rows.

    Returns:
      Iterator of TrainBatch (of a DeviceStore, TrainRows) of this process's clips of P * K; close it when done.

    Raises:
      ValueError: the split cannot fill a batch, or the batch does not split over the devices.
    """
    clips = experiment.sampler.num_ids * experiment.sampler.tracklets_per_id
    items = _Items(
        sampler=sampler(tracklets, experiment),
        num_frames=np.asarray([len(one.frames) for one in tracklets]),
        how=experiment.sampler,
        seed=experiment.train.seed,
        start_step=start_step,
        slots=np.arange(clips) if mesh is None else sharding.local_slots(clips, mesh),
    )
    row_labels, cameras = np.asarray([labels[one.pid] for one in tracklets], np.int32), None
    if config.with_cameras(experiment, train=True):
        cameras = np.asarray([one.camera for one in tracklets], np.int32)
    load: Callable[[_Item], batch_lib.TrainBatch | batch_lib.TrainRows]
    if isinstance(store, device_store.DeviceStore):
        load = functools.partial(_rows, store.packing, row_labels, cameras)
    else:
        load = functools.partial(_load, store, row_labels, cameras, experiment.data.flow != 'off')
    return batch_iterator.BatchIterator(
        items,
        load,
        store,
        threads=experiment.data.threads,
        processes=experiment.data.processes,
        prefetch=experiment.data.prefetch,
    )


@dataclasses.dataclass(frozen=True)
class _Items:
    """Item i is this process's share of global step start_step + i."""

    sampler: identity_sampling.IdentitySampler
    num_frames: np.ndarray  # [N] int64, frames per tracklet
    how: config.Sampler
    seed: int
    start_step: int
    slots: np.ndarray  # [b] int64, this process's positions in the global batch

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> _Item:
        step = self.start_step + index
        epoch = step // self.sampler.steps_per_epoch
        tracklets = self.sampler.tracklets(step)[self.slots]
        frames = [
            clip_sampling.train_clip(
                int(self.num_frames[row]),
                np.random.default_rng((self.seed, epoch, step, int(slot))),
                kind=self.how.clip,
                frames=self.how.frames,
                stride_frames=self.how.stride_frames,
            )
            for slot, row in zip(self.slots, tracklets, strict=True)
        ]
        return _Item(tracklets=tracklets, frames=np.stack(frames), index=self.slots.astype(np.int32))


def _load(
    store: frame_store.Store, labels: np.ndarray, cameras: np.ndarray | None, with_flow: bool, item: _Item
) -> batch_lib.TrainBatch:
    wanted = [(int(row), frames) for row, frames in zip(item['tracklets'], item['frames'], strict=True)]
    batch = batch_lib.TrainBatch(
        clips=np.stack([store.read(row, frames) for row, frames in wanted]),
        labels=labels[item['tracklets']],
        index=item['index'],
    )
    if cameras is not None:
        batch['cameras'] = cameras[item['tracklets']]
    if with_flow:
        batch['flow'] = np.stack([store.read_flow(row, frames) for row, frames in wanted])
    return batch


def _rows(
    packing: packed_frames.Packing, labels: np.ndarray, cameras: np.ndarray | None, item: _Item
) -> batch_lib.TrainRows:
    batch = batch_lib.TrainRows(
        rows=packing.rows(item['tracklets'], item['frames']), labels=labels[item['tracklets']], index=item['index']
    )
    if cameras is not None:
        batch['cameras'] = cameras[item['tracklets']]
    return batch
