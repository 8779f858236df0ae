"""Batch-hard triplet loss (Hermans et al., In Defense of the Triplet Loss, 2017, eq. 5)."""

import jax
import jax.numpy as jnp


def batch_hard(
    distances: jax.Array,
    anchor_labels: jax.Array,
    labels: jax.Array,
    self_index: jax.Array,
    *,
    margin: float | None,
    no_positive: float,
    mine_by: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Each anchor against its farthest same identity and its nearest other identity.

    The anchors may be a part of the N samples: under shard_map a device mines for its own rows in the global batch.

    Args:
      distances: [A, N] float, from A anchors to N samples.
      anchor_labels: [A] int.
      labels: [N] int.
      self_index: [A] int, the anchor's own column, which is no positive.
      margin: m of [m + d⁺ - d⁻]₊; None gives the soft form log(1 + exp(d⁺ - d⁻)).
      no_positive: d⁺ of an anchor that has no other sample of its identity: the distance of a point to itself.
      mine_by: [A, N], other distances that say which samples are farthest and nearest; None: `distances` do.

    Returns:
      [A] loss per anchor, 0 where the anchor has no negative; [A] bool, True where it has one. The caller reduces.
    """
    same = anchor_labels[:, None] == labels[None, :]
    positive = same & (self_index[:, None] != jnp.arange(labels.shape[0])[None, :])
    mined = distances if mine_by is None else mine_by
    farthest = _pick(jnp.where(positive, mined, -jnp.inf).argmax(axis=1), distances)
    nearest = _pick(jnp.where(same, jnp.inf, mined).argmin(axis=1), distances)
    has_positive, has_negative = jnp.any(positive, axis=1), jnp.any(~same, axis=1)
    return of_hardest(
        farthest, nearest, has_positive, has_negative, margin=margin, no_positive=no_positive
    ), has_negative


def of_hardest(
    farthest: jax.Array,
    nearest: jax.Array,
    has_positive: jax.Array,
    has_negative: jax.Array,
    *,
    margin: float | None,
    no_positive: float,
) -> jax.Array:
    """[A] losses of anchors from the distances d⁺ and d⁻ [A] of what was mined; the rest as in `batch_hard`."""
    gap = jnp.where(has_positive, farthest, no_positive) - nearest
    loss = jax.nn.softplus(gap) if margin is None else jax.nn.relu(margin + gap)
    return jnp.where(has_negative, loss, 0)


def _pick(columns: jax.Array, distances: jax.Array) -> jax.Array:
    # Not jnp.max: see `layers.numerics` on its gradient.
    return jnp.take_along_axis(distances, columns[:, None], axis=1)[:, 0]
