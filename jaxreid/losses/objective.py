"""What training minimises: cross entropy plus the batch-hard triplet loss (STRF, ICCV 2021, eq. 9; spec section 6)."""

import math
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxreid import config, distances
from jaxreid.losses import cross_entropy, triplet


class Output(Protocol):
    """What the objective reads of a model's output."""

    @property
    def embedding(self) -> jax.Array: ...  # [B, D], after the neck

    @property
    def embedding_before_neck(self) -> jax.Array: ...  # [B, D]

    @property
    def logits(self) -> jax.Array: ...  # [B, n]


def objective(
    output: Output, labels: jax.Array, cfg: config.Loss, *, axis_name: str | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of the global batch and what to log of it.

    Under shard_map every device passes its rows, equally many on each, in the order of the mesh axis. Mining sees the
    rows of all devices, and both results are already reduced over the axis: differentiate this value as it is, a
    `pmean` of the gradients on top would scale them.

    Args:
      output: this device's rows.
      labels: [B] int.
      cfg: the kinds and weights of the terms.
      axis_name: mesh axis over which the batch is split; None: `output` holds the whole batch.

    Returns:
      Scalar loss, and scalars `loss`, `cross_entropy`, `triplet` (without its weight), `accuracy` (share of clips whose
      largest logit is their label) and `active_triplets` (share of anchors with a positive margin loss; for the soft
      form, with a positive farther than the nearest negative). All at least float32 and equal on all devices.

    Raises:
      ValueError: on a name in `cfg` that does not exist.
    """
    identity = _mean(cross_entropy.cross_entropy(output.logits, labels, smoothing=cfg.smoothing), axis_name)
    accuracy = _mean((output.logits.argmax(axis=1) == labels).astype(identity.dtype), axis_name)
    metric, active = _triplet(output, labels, cfg, axis_name)
    loss = identity + cfg.triplet_weight * metric
    return loss, {
        'loss': loss,
        'cross_entropy': identity,
        'triplet': metric,
        'accuracy': accuracy,
        'active_triplets': active,
    }


def _triplet(output: Output, labels: jax.Array, cfg: config.Loss, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Mean over all anchors that have a negative, and the share of them that is active."""
    match cfg.triplet_on:
        case 'after_neck':
            features = output.embedding
        case 'before_neck':
            features = output.embedding_before_neck
        case unknown:
            raise ValueError(f"loss.triplet_on is {unknown!r}, expected 'after_neck' or 'before_neck'.")
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
        case unknown:
            raise ValueError(f"loss.triplet is {unknown!r}, expected 'margin', 'soft' or 'off'.")
    match cfg.distance:
        case 'cosine':
            distance, to_itself = distances.cosine, -1.0
        case 'euclidean':
            distance, to_itself = distances.euclidean, 0.0
        case unknown:
            raise ValueError(f"loss.distance is {unknown!r}, expected 'cosine' or 'euclidean'.")

    all_features, all_labels, self_index = features, labels, jnp.arange(labels.shape[0])
    if axis_name is not None:
        all_features = jax.lax.all_gather(features, axis_name, tiled=True)  # [N, D]
        all_labels = jax.lax.all_gather(labels, axis_name, tiled=True)  # [N]
        self_index = self_index + jax.lax.axis_index(axis_name) * labels.shape[0]
    loss, valid = triplet.batch_hard(
        distance(features, all_features), labels, all_labels, self_index, margin=margin, no_positive=to_itself
    )
    anchors = jnp.maximum(_sum(valid.astype(loss.dtype), axis_name), 1)
    active = (loss > inactive) & valid
    return _sum(loss, axis_name) / anchors, _sum(active.astype(loss.dtype), axis_name) / anchors


def _sum(values: jax.Array, axis_name: str | None) -> jax.Array:
    total = values.sum()
    return total if axis_name is None else jax.lax.psum(total, axis_name)


def _mean(values: jax.Array, axis_name: str | None) -> jax.Array:
    mean = values.mean()
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)
