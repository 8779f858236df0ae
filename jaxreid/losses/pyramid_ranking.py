"""Pyramid ranking regulariser of STAR (BMVC 2019, eqs 9-10; docs/star.md)."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

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
    columns, all_labels, self_index = rows, labels, jnp.arange(labels.shape[0])
    gather = functools.partial(jax.lax.all_gather, axis_name=axis_name, tiled=True)
    if axis_name is not None:
        columns, all_labels = gather(rows, axis=1), gather(labels)
        self_index = self_index + jax.lax.axis_index(axis_name) * labels.shape[0]
    mine_by = None
    if mined_on is not None:
        mined_on = jax.lax.stop_gradient(mined_on)
        mine_by = distances.euclidean(mined_on, mined_on if axis_name is None else gather(mined_on))

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
    total, anchors = (losses * weights[:, None]).sum(), valid[0].sum().astype(losses.dtype)
    if axis_name is not None:
        total, anchors = jax.lax.psum((total, anchors), axis_name)
    return total / jnp.maximum(anchors, 1)


def _descriptor(stripes):  # [B, T, G, C] -> [G, B, C]
    stripes = stripes.astype(jnp.promote_types(stripes.dtype, jnp.float32))
    pools = [pooling.whole(stripes, axes=(1,), average=average)[:, 0] for average in (True, False)]
    return jnp.swapaxes(pools[0] + pools[1], 0, 1)
