"""Contrast of frames (InfoNCE as in SINet, CVPR 2022): frames at one place of a person's clips belong together.

SINet's modules treat the first frame of every four unlike the last; the loss keeps what they say apart. Pieces are
four frames of a clip. Of a person's K pieces, the frames at one place attract and those at other places repel.
"""

import jax
import jax.numpy as jnp

from jaxreid import sharding
from jaxreid.layers import numerics

GROUP = 4  # frames of a piece


def frame_contrast(
    features: jax.Array, *, pieces_per_id: int, temperature: float, axis_name: str | None = None
) -> jax.Array:
    """Sum over the groups of pieces of -mean_ij log(e_ij / (e_ij + sum_k e_ik)), e = exp(cosine / temperature).

    i and j are two frames at one place of a group, k runs over the group's frames at other places. As in the released
    code `pieces_per_id` pieces, one behind the other, are a group: a person's clips of four frames, but halves of them
    where clips have eight, and the groups are summed over.

    Under shard_map every device passes its clips, equally many on each, in the order of the mesh axis; the result is
    already that of the global batch: differentiate it as it is.

    Args:
      features: [B, T, D] float, T a multiple of 4; the clips of one person side by side.
      pieces_per_id: K, at least 2.
      temperature: of the cosines.
      axis_name: mesh axis over which the batch is split; None: `features` holds the whole batch.

    Returns:
      Scalar, at least float32, equal on all devices.
    """
    d = features.shape[-1]
    own = numerics.unit_length(features).reshape(-1, d)  # frames, in order
    everyone = sharding.all_rows(own, axis_name)
    mine = sharding.row_numbers(len(own), axis_name)[:, None]
    others = jnp.arange(len(everyone))[None]
    same_group = mine // (GROUP * pieces_per_id) == others // (GROUP * pieces_per_id)
    same_place = mine % GROUP == others % GROUP
    logits = jnp.einsum('id,jd->ij', own, everyone, precision='highest') / temperature
    exponentials = jnp.exp(logits)
    repelled = jnp.where(same_group & ~same_place, exponentials, 0).sum(1, keepdims=True)
    terms = jnp.log(repelled + exponentials) - logits
    total = jnp.where(same_group & same_place & (mine != others), terms, 0).sum()
    return sharding.add_up(total, axis_name) / (GROUP * pieces_per_id * (pieces_per_id - 1))
