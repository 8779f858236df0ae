"""Memory spread loss: every item of a memory is to be much more likely for some queries than for others."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxreid import sharding
from jaxreid.layers import numerics


def memory_spread(
    match: jax.Array, *, alpha: float, reduce: str, groups: int = 1, axis_name: str | None = None
) -> jax.Array:
    """Sum or mean over the items n of [min(a_n) - max(a_n) + alpha]+ (STMN, ICCV 2021, eq. 9).

    a_n are the probabilities of item n for all queries of the global batch, or of each of `groups` equal slices of it,
    in order, whose losses are averaged; the released code took the slices that its devices held.

    Under shard_map every device passes its clips, equally many on each, in the order of the mesh axis; the result is
    already that of the global batch: differentiate it as it is.

    Args:
      match: [B, ..., M] float, probabilities over the items; the first axis counts clips.
      alpha: margin, a probability.
      reduce: over the items: 'sum' (paper) or 'mean' (released code).
      groups: slices of the global batch. A multiple or a divisor of the number of devices.
      axis_name: mesh axis over which the batch is split; None: `match` holds the whole batch.

    Returns:
      Scalar, at least float32, equal on all devices.

    Raises:
      ValueError: `match` has no item axis, `reduce` is another word, or `groups` do not fit the clips or the devices.
    """
    if match.ndim < 2:
        raise ValueError(f'match has shape {match.shape}, expected [B, ..., M]: clips first, items last.')
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    slices = max(1, groups // devices)  # of this device; a group may also span several devices
    if groups < 1 or (groups % devices and devices % groups) or match.shape[0] % slices:
        raise ValueError(
            f'{match.shape[0] * devices} clips on {devices} devices do not split into stmn.spread_groups = {groups} '
            'equal groups of whole clips; choose a divisor of the clips that divides the devices or is a multiple of '
            'their number.'
        )
    items = match.shape[-1]
    rows = match.astype(jnp.promote_types(match.dtype, jnp.float32)).reshape(slices, -1, items)
    # Minus the smallest and the largest, [2, slices, M].
    ends = jnp.stack([numerics.largest(-rows, 1), numerics.largest(rows, 1)])
    if axis_name is not None:
        everyone = sharding.sum_of_rows(ends[None], axis_name, rows=devices, first=lax.axis_index(axis_name))
        ends = jnp.stack([numerics.largest(end.reshape(groups, -1, items), 1) for end in jnp.swapaxes(everyone, 0, 1)])
    gap = alpha - (ends[0] + ends[1])  # [groups, M]
    per_item = numerics.at_least(gap, 0).mean(0)
    match reduce:
        case 'sum':
            return per_item.sum()
        case 'mean':
            return per_item.mean()
    raise ValueError(f'stmn.spread = {reduce!r} is no reduction over items')
