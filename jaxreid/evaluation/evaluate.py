"""From a model's variables to results: extract, and score under each protocol."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import eval_pipeline
from jaxreid.data.stores import frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file, features, fingerprint, protocols, rerank, results
from jaxreid.models import bn_folding
from jaxreid.process import metrics_log
from jaxreid.training import step


def extract(
    experiment: config.Experiment,
    dataset: tracklet.Dataset,
    model: Any,
    variables: dict,
    mesh: Mesh,
    *,
    clips: str,
    at_step: int,
    label: str = 'extract',
    one_frame: bool = False,
    trained_on: str = '',
    store: frame_store.Store | None = None,
) -> feature_file.Features:
    """Features of the test split by one clip protocol.

    Args:
      experiment: settings.
      dataset: its test split is read.
      model, variables: the network and its {'params', 'batch_stats'} on the devices.
      mesh: devices.
      clips: one of config.TEST_CLIPS.
      at_step: training step of the variables, recorded.
      label: what the progress bar says.
      one_frame: replace the frames of a clip by its first.
      trained_on: as `source.describe`, where it is not the config's data set.
      store: frames of the test split, where they are not to be opened anew.

    Raises:
      ValueError: a feature is not finite, in bfloat16 neither where float16 was not asked for by name.
    """
    sharding.check_divides(experiment.test.batch_clips, mesh)
    data, test = experiment.data, experiment.test
    store = store or source.store(experiment.data, dataset, split='test')
    count = eval_pipeline.count(
        dataset.test, clips=clips, frames=test.frames, batch_clips=test.batch_clips, multiple_of=mesh.size
    )

    def sums(dtype: jnp.dtype) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
        """Sums and clip counts as `features.extract` gives them, and how many frames were replaced."""
        batches = eval_pipeline.batches(
            dataset.test,
            store,
            clips=clips,
            frames=test.frames,
            batch_clips=test.batch_clips,
            threads=data.threads,
            prefetch=data.prefetch,
            processes=data.processes,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            seed=test.seed,
            flow=data.flow != 'off',
            multiple_of=mesh.size,
        )
        eval_step = step.make_eval_step(
            model.clone(dtype=dtype),
            mesh,
            flip=test.flip,
            one_frame=one_frame,
            chunk=test.frames if clips == 'whole' else 0,
        )
        with batches:
            found = features.extract(eval_step, folded, batches, len(dataset.test), mesh=mesh, total=count, label=label)
        return *found, batches.skipped

    folded = jax.jit(bn_folding.fold)(variables)
    dtype = step.test_dtype(experiment)
    found, counts, replaced = sums(dtype)
    if dtype == jnp.float16 and test.compute_dtype == 'auto' and not np.isfinite(found['embedding']).all():
        metrics_log.say(f'{label}: float16 ends at 65,504, which is too little for this network; again in bfloat16')
        dtype = jnp.dtype('bfloat16')
        found, counts, replaced = sums(dtype)
    embedding, before_neck = (
        found[name] / np.maximum(counts, 1)[:, None] for name in ('embedding', 'embedding_before_neck')
    )
    if bad := int((~np.isfinite(embedding).all(axis=1)).sum()):
        raise ValueError(
            f'features of {bad} of {len(embedding)} tracklets are NaN or infinite at step {at_step} in {dtype}. '
            'A network whose training diverged gives these: use an earlier checkpoint. float16 does beyond 65,504: use '
            '--config.test.compute_dtype=auto.'
        )
    meta: feature_file.Meta = {
        'dataset': data.dataset,
        'split': 'test',
        'trained_on': trained_on or source.describe(data),
        'tested_on': source.describe(dataclasses.replace(data, also=())),
        'clips': clips,
        'clip_seed': test.seed if clips == 'random' else None,
        'frames_per_clip': test.frames,
        'one_frame': one_frame,
        'flip': test.flip,
        'flow': data.flow,
        'compute_dtype': str(dtype),
        'frames_seen': eval_pipeline.frames_seen(
            dataset.test, clips=clips, frames=test.frames, seed=test.seed, one_frame=one_frame
        ),
        'corrupt_frames_replaced': replaced,
        'step': at_step,
        'network': fingerprint.of(variables),
        'used_items': {k: used_items(v.sum(0)) for k, v in found.items() if k.endswith('_items')},
        'config': config.to_dict(experiment),
    }
    return features.describe(dataset, embedding, before_neck, meta)


def used_items(counts: np.ndarray) -> feature_file.UsedItems:
    """How evenly the items of a memory are read: 2 to the entropy of `counts` [n], between 1 and n, and the counts."""
    share = counts[counts > 0] / counts.sum()
    return {'used': float(2 ** -(share * np.log2(share)).sum()), 'of': len(counts), 'counts': counts.tolist()}


def score(found: feature_file.Features, experiment: config.Experiment, *, selected: str) -> list[results.Result]:
    """One row of results per protocol of the config; each carries everything that its number depends on.

    Args:
      found: features.
      experiment: reads `test.protocols`, `test.distance` and `test.rerank*`.
      selected: how the variables were chosen, e.g. 'last step'.
    """
    test = experiment.test
    re_ranking = f'k-reciprocal, k1 {test.rerank_k1}, k2 {test.rerank_k2}, lambda {test.rerank_lambda:g}'
    reranked: dict[bytes, np.ndarray] = {}  # by gallery, which several protocols may share
    rows = []
    for name in test.protocols:
        protocol = protocols.named(name)
        roles = found.pid, found.camera, found.query, found.gallery, protocol
        if test.rerank:
            ranked = protocols.ranked_gallery(found.pid, found.query, found.gallery, protocol)
            if ranked.tobytes() not in reranked:
                reranked[ranked.tobytes()] = _reranked(found, ranked, test)
            row = protocols.score_distances(reranked[ranked.tobytes()], *roles, distance=test.distance)
        else:
            row = protocols.score(found.embedding, *roles, distance=test.distance)
        re_ranked = re_ranking if test.rerank else 'none'
        row['protocol'] |= {**_making(found.meta), 're_ranking': re_ranked, 'feature': 'after neck'}
        result = results.Result(**row, step=found.meta['step'], selected=selected)
        if 'trained_on' in found.meta:
            result['trained_on'] = found.meta['trained_on']
        if 'tested_on' in found.meta:
            result['tested_on'] = found.meta['tested_on']
        if found.meta.get('used_items'):
            result['used_items'] = found.meta['used_items']
        rows.append(result)
    return rows


def _making(meta: feature_file.Meta) -> protocols.Making:
    """What a result says of how its features were made."""
    return protocols.Making(
        dataset=meta['dataset'],
        split=meta['split'],
        clips=meta['clips'],
        clip_seed=meta['clip_seed'],
        frames_per_clip=meta['frames_per_clip'],
        one_frame=meta['one_frame'],
        flip=meta['flip'],
        flow=meta['flow'],
        compute_dtype=meta['compute_dtype'],
        frames_seen=meta['frames_seen'],
        corrupt_frames_replaced=meta['corrupt_frames_replaced'],
    )


def _reranked(found: feature_file.Features, ranked: np.ndarray, test: config.Test) -> np.ndarray:
    """Re-ranked distances [rows marked query, rows marked gallery] over the queries and the gallery rows `ranked` [N].

    Rows that the protocol does not rank are no one's neighbours and come last.
    """
    distances = np.ones((found.query.sum(), found.gallery.sum()), np.float32)
    distances[:, ranked[found.gallery]] = rerank.rerank(
        found.embedding[found.query],
        found.embedding[ranked],
        distance=test.distance,
        k1=test.rerank_k1,
        k2=test.rerank_k2,
        weight=test.rerank_lambda,
    )
    return distances
