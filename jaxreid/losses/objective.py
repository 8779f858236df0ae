"""What training minimises: cross entropy and batch-hard triplet of every stream, and the system's own term (STRF, ICCV
2021, eq. 9; STMN, ICCV 2021, eqs 8-9; STA, AAAI 2019, eqs 9-11; STAR, BMVC 2019, eqs 11-13; SINet, CVPR 2022; TF-CLIP,
AAAI 2024; docs/training.md).
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxreid import config, sharding
from jaxreid.losses import (
    cross_entropy,
    distances,
    frame_consistency,
    frame_contrast,
    memory_spread,
    pyramid_ranking,
    ring_mining,
    triplet,
)


class Stream(Protocol):
    """R rows that are supervised together."""

    @property
    def embedding(self) -> jax.Array: ...  # [R, D], after the neck

    @property
    def embedding_before_neck(self) -> jax.Array: ...  # [R, D]

    @property
    def logits(self) -> jax.Array: ...  # [R, n]


class Output(Stream, Protocol):
    """What the objective reads of a model's output (`models.output.ModelOutput`)."""

    @property
    def streams(self) -> Mapping[str, Stream]: ...  # empty: the output itself is supervised

    @property
    def extras(self) -> Mapping[str, Any]: ...  # match maps, energy maps, stripes: what the system's own term reads


def objective(
    output: Output,
    labels: jax.Array,
    experiment: config.Experiment,
    *,
    index: jax.Array,
    key: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of the global batch and what to log of it.

    Under shard_map every device passes its rows, equally many on each, in the order of the mesh axis. Mining, spread
    and ranking see the rows of all devices, and all results are already reduced over the axis: differentiate this
    value as it is, a `pmean` of the gradients on top would scale them.

    Args:
      output: this device's rows; a stream may have several rows per clip, side by side.
      labels: [B] int.
      experiment: `loss`, and the section of the system for its own term.
      index: [B] int, the clips' positions in the global batch.
      key: of the step, the same on all devices.
      axis_name: mesh axis over which the batch is split; None: `output` holds the whole batch.

    Returns:
      Scalar loss, and scalars: `loss`; `cross_entropy` and `triplet` (without their weights), summed over the streams;
      `accuracy` and `active_triplets` (see `of_stream`) of the stream that is the test feature, the last; all four per
      stream where there are several; and the system's own term without its weight: `memory_spread`,
      `frame_consistency`, `pyramid_ranking` or `frame_contrast`; `memory_contrast` and `frame_identity` of TF-CLIP. All
      at least float32 and equal on all devices.

    Raises:
      ValueError: on a name in the settings that does not exist.
    """
    loss: jax.Array | None = None
    metrics: dict[str, jax.Array] = {}
    streams = output.streams or {'': output}
    for name, stream in streams.items():
        rows = stream.logits.shape[0] // labels.shape[0]
        value, terms = of_stream(stream, jnp.repeat(labels, rows), experiment.loss, axis_name=axis_name)
        loss = value if loss is None else loss + value
        if len(streams) > 1:
            metrics |= {f'{k}/{name}': v for k, v in terms.items()}
        summed = {k: metrics[k] + terms[k] for k in ('cross_entropy', 'triplet') if k in metrics}
        metrics |= terms | summed
    assert loss is not None

    match experiment.system:
        case 'stmn' if experiment.stmn.spread != 'off':
            s = experiment.stmn
            how: dict[str, Any] = {'alpha': s.alpha, 'reduce': s.spread, 'groups': s.spread_groups}
            matches = [output.extras[k] for k in ('spatial_match', 'temporal_match') if k in output.extras]
            spreads = [memory_spread.memory_spread(match, **how, axis_name=axis_name) for match in matches]
            metrics['memory_spread'] = sum(spreads, start=jnp.zeros_like(loss))
            loss = loss + metrics['memory_spread']
        case 'sta' if experiment.sta.reg_lambda:
            per_clip = frame_consistency.frame_consistency(
                output.extras['attention'], key, index, squared=experiment.sta.reg_squared
            )
            metrics['frame_consistency'] = _mean(per_clip, axis_name)
            loss = loss + experiment.sta.reg_lambda * metrics['frame_consistency']
        case 'star' if experiment.star.pyramid_weight:
            metrics['pyramid_ranking'] = pyramid_ranking.pyramid_ranking(
                output.extras['stripes'],
                labels,
                margin=experiment.star.pyramid_margin,
                axis_name=axis_name,
                mined_on=output.embedding if experiment.star.pyramid_mine == 'embedding' else None,
            )
            loss = loss + experiment.star.pyramid_weight * metrics['pyramid_ranking']
        case 'sinet' if experiment.sinet.contrast_weight:
            metrics['frame_contrast'] = frame_contrast.frame_contrast(
                output.extras['projected'],
                pieces_per_id=experiment.sampler.tracklets_per_id,
                temperature=experiment.sinet.temperature,
                axis_name=axis_name,
            )
            loss = loss + experiment.sinet.contrast_weight * metrics['frame_contrast']
        case 'tfclip':
            # As in the released code the mean over the frames weighs one T-th.
            for name, logits in (('memory_contrast', 'memory_logits'), ('frame_identity', 'frame_logits')):
                if (found := output.extras.get(logits)) is not None:
                    rows = found.shape[0] // labels.shape[0]
                    values = cross_entropy.cross_entropy(
                        found, jnp.repeat(labels, rows), smoothing=experiment.loss.smoothing
                    )
                    metrics[name] = _mean(values, axis_name)
                    loss = loss + metrics[name] / rows
    return loss, {'loss': loss} | metrics


def of_stream(
    stream: Stream, labels: jax.Array, cfg: config.Loss, *, axis_name: str | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross entropy plus weighted triplet of one stream.

    Args:
      stream: this device's rows.
      labels: [R] int.
      cfg: the kinds and weights of the terms.
      axis_name: see `objective`.

    Returns:
      Scalar loss, and scalars `cross_entropy`, `triplet` (without their weights), `accuracy` (share of rows whose
      largest logit is their label) and `active_triplets` (share of anchors with a positive margin loss; for the soft
      form, with a positive farther than the nearest negative).
    """
    identity = _mean(cross_entropy.cross_entropy(stream.logits, labels, smoothing=cfg.smoothing), axis_name)
    accuracy = _mean((stream.logits.argmax(axis=1) == labels).astype(identity.dtype), axis_name)
    metric, active = _triplet(stream, labels, cfg, axis_name)
    loss = cfg.identity_weight * identity + cfg.triplet_weight * metric
    return loss, {
        'cross_entropy': identity,
        'triplet': metric,
        'accuracy': accuracy,
        'active_triplets': active,
    }


def _triplet(stream: Stream, labels: jax.Array, cfg: config.Loss, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Mean over all anchors that have a negative, and the share of them that is active."""
    match cfg.triplet_on:
        case 'after_neck':
            features = stream.embedding
        case 'before_neck':
            features = stream.embedding_before_neck
        case _:
            raise config.unknown('loss.triplet_on', cfg.triplet_on)
    # Before the gather, whose gradient sums over devices.
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    margin: float | None
    match cfg.triplet:
        case 'margin':
            margin, inactive = cfg.margin, 0.0
        case 'soft':
            margin, inactive = None, math.log(2)
        case 'off':
            return jnp.zeros((), features.dtype), jnp.zeros((), features.dtype)
        case _:
            raise config.unknown('loss.triplet', cfg.triplet)
    match cfg.distance:
        case 'cosine':
            distance, to_itself = distances.cosine, -1.0
        case 'euclidean':
            distance, to_itself = distances.euclidean, 0.0
        case _:
            raise config.unknown('loss.distance', cfg.distance)

    if cfg.mining not in config.choices('loss.mining'):
        raise config.unknown('loss.mining', cfg.mining)
    if axis_name is not None and cfg.mining == 'ring':
        *mined, has_positive, valid = ring_mining.hardest(features, labels, distance, axis_name)
        farthest, nearest = (jax.vmap(lambda a, b: distance(a[None], b[None])[0, 0])(features, m) for m in mined)
        loss = triplet.of_hardest(farthest, nearest, has_positive, valid, margin=margin, no_positive=to_itself)
        anchors = sharding.add_up(valid.sum(dtype=loss.dtype), axis_name)
    else:
        all_features, all_labels = sharding.all_rows((features, labels), axis_name)  # [N, D], [N]
        self_index = sharding.row_numbers(labels.shape[0], axis_name)
        loss, valid = triplet.batch_hard(
            distance(features, all_features), labels, all_labels, self_index, margin=margin, no_positive=to_itself
        )
        # All rows have a negative, or none: no sum over the devices, which the gradient would wait for.
        anchors = jnp.where((all_labels != all_labels[0]).any(), float(len(all_labels)), 0).astype(loss.dtype)
    active = (loss > inactive) & valid
    anchors = jnp.maximum(anchors, 1)
    mean, share = (sharding.add_up(x.sum(dtype=loss.dtype) / anchors, axis_name) for x in (loss, active))
    return mean, share


def _mean(values: jax.Array, axis_name: str | None) -> jax.Array:
    mean = values.mean()
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)
