"""Pyramid ranking regulariser of STAR (BMVC 2019, eqs 9-10; docs/star.md)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxreid import sharding
from jaxreid.layers import pooling
from jaxreid.losses import distances, triplet


def pyramid_ranking(
    stripes: Mapping[str, jax.Array],
    labels: jax.Array,
    *,
    margin: float,
    axis_name: str | None,
    mined_on: jax.Array | None = None,
) -> jax.Array:
    """Batch-hard Euclidean triplet of every horizontal stripe, averaged over the stripes of a level, over levels and
    over anchors.

    A stripe is described by the mean plus the maximum of its frames. Both are over frames already, so the sum over
    frames and the 1 / L of the paper's equation cancel.

    Args:
      stripes: by level, [B, T, G, C] means of the G stripes of every frame; this device's clips.
      labels: [B] int.
      margin: alpha1.
      axis_name: mesh axis over which the batch is split; None: `stripes` holds the whole batch.
      mined_on: [B, D]: the hardest positive and negative of an anchor are those by the Euclidean distance of these
        rows, for all stripes alike; None: each stripe has its own.

    Returns:
      Scalar, at least float32, the same on every device: differentiate it as it is (see `objective`).
    """
    described = [_descriptor(level) for level in stripes.values()]  # [G, B, C] each
    weights = jnp.concatenate([jnp.full(d.shape[0], 1 / len(d) / len(described), d.dtype) for d in described])
    rows = jnp.concatenate(described)  # [S, B, C], the stripes of all levels
    columns, all_labels = sharding.all_rows(rows, axis_name, axis=1), sharding.all_rows(labels, axis_name)
    self_index = sharding.row_numbers(labels.shape[0], axis_name)
    mine_by = None
    if mined_on is not None:
        mined_on = jax.lax.stop_gradient(mined_on)
        mine_by = distances.euclidean(mined_on, sharding.all_rows(mined_on, axis_name))

    def stripe(own, everyone):
        return triplet.batch_hard(
            distances.euclidean(own, everyone),
            labels,
            all_labels,
            self_index,
            margin=margin,
            no_positive=0.0,
            mine_by=mine_by,
        )

    losses, valid = jax.vmap(stripe)(rows, columns)  # [S, B]
    parts = (losses * weights[:, None]).sum(), valid[0].sum().astype(losses.dtype)
    total, anchors = sharding.add_up(parts, axis_name)
    return total / jnp.maximum(anchors, 1)


def _descriptor(stripes):  # [B, T, G, C] -> [G, B, C]
    stripes = stripes.astype(jnp.promote_types(stripes.dtype, jnp.float32))
    pools = [pooling.whole(stripes, axes=(1,), average=average)[:, 0] for average in (True, False)]
    return jnp.swapaxes(pools[0] + pools[1], 0, 1)
