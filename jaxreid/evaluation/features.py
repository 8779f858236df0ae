"""Tracklet features: extraction on all devices. `feature_file` has the file that carries them."""

import collections
import pathlib
import re
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreid import sharding
from jaxreid.data.batches import batch as batch_lib
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file
from jaxreid.process import freed_memory, progress

FILE = 'features.npz'


def over_clips(
    eval_step: Callable,
    variables: dict,
    batches: Iterator[batch_lib.EvalBatch],
    tracklets: int,
    *,
    mesh: Mesh,
    total: int,
    label: str,
) -> dict[str, np.ndarray]:
    """Means of the clip features of every tracklet, and sums of what the network counts for a clip: [N, ...] float32 by
    the names of `eval_step` (from `step.make_eval_step`), sums of the counts `*_items` and means of all others.

    Clips of many tracklets fill fixed batches, as many on every process; sums are kept on the host: but for clips
    'whole' memory does not depend on the length of a tracklet. Averaging before or after the neck is the same, since in
    evaluation it is affine.
    """
    sums: dict[str, np.ndarray] = {}
    counts = np.zeros(tracklets, np.float32)
    pending: collections.deque = collections.deque()

    def collect() -> None:
        rows, valid, outputs = pending.popleft()
        for name, output in outputs.items():
            local = _local_rows(output)
            if name not in sums:
                sums[name] = np.zeros((tracklets, local.shape[1]), np.float32)
            np.add.at(sums[name], rows[valid], local[valid].astype(np.float32))
        np.add.at(counts, rows[valid], np.float32(1))

    with freed_memory.kept() as keep_freed:
        for batch in progress.compiling_first(batches, total=total, label=label):
            inputs = {k: v for k, v in batch.items() if k in ('clips', 'flow', 'lengths', 'cameras')}
            outputs = eval_step(variables, sharding.shard_batch(inputs, mesh))
            pending.append((batch['tracklet'], batch['valid'], outputs))
            if len(pending) > 2:  # the device works on the next batch while this one is fetched
                collect()
                keep_freed()
        while pending:
            collect()
    if mesh.is_multi_process:
        for own in (*sums.values(), counts):
            sharding.add_up_processes(own, mesh)
    counts = np.maximum(counts, 1)[:, None]
    return {name: x if name.endswith('_items') else x / counts for name, x in sums.items()}


def used_items(counts: np.ndarray) -> feature_file.UsedItems:
    """How evenly the items of a memory are read that were read `counts` [n] times."""
    share = counts[counts > 0] / counts.sum()
    return {'used': float(2 ** -(share * np.log2(share)).sum()), 'of': len(counts), 'counts': counts.tolist()}


def _local_rows(array: jax.Array) -> np.ndarray:
    shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])


def free_path(workdir: pathlib.Path, meta: feature_file.Meta) -> pathlib.Path:
    """`features.npz`, or, where that already holds features made in another way, a name that says how these were."""
    path = workdir / FILE
    how = ('trained_on', 'tested_on', 'clips', 'clip_seed', 'frames_per_clip', 'flip', 'step')
    if path.exists():
        before = feature_file.read_meta(path)
        if any(before.get(k) != meta.get(k) for k in how):
            flip = '-flip' if meta['flip'] else ''
            seed = '' if meta['clip_seed'] is None else f'-seed{meta["clip_seed"]}'
            where = re.sub(r'\W+', '-', meta['tested_on']).strip('-')
            return workdir / f'features-{where}-step{meta["step"]}-{meta["clips"]}{seed}{flip}.npz'
    return path


def describe(
    dataset: tracklet.Dataset, embedding: np.ndarray, before: np.ndarray, meta: feature_file.Meta
) -> feature_file.Features:
    """Puts ids and roles of a data set's test split beside its features."""
    test = dataset.test
    known = sorted({name for one in test for name in one.attributes})

    def names(given):
        return {str(number): name for number, name in given.items()}  # as JSON would have it

    return feature_file.Features(
        embedding=embedding,
        embedding_before_neck=before,
        pid=np.array([t.pid for t in test], np.int64),
        camera=np.array([t.camera for t in test], np.int64),
        query=np.asarray(dataset.query, bool),
        gallery=np.asarray(dataset.gallery, bool),
        name=np.array([t.name for t in test], np.str_),
        frames=np.array([len(t.frames) for t in test], np.int64),
        meta={**meta, 'pid_names': names(dataset.pid_names), 'camera_names': names(dataset.camera_names)},
        time=np.array([t.time for t in test], np.str_) if any(t.time for t in test) else None,
        attributes={name: np.array([t.attributes.get(name, '') for t in test], np.str_) for name in known},
    )
