"""How likely a query reads each item of a memory (STMN, ICCV 2021, eqs. 1 and 5; docs/stmn.md)."""

import jax
import jax.numpy as jnp

from jaxreid import config
from jaxreid.layers import numerics


def match_probabilities(queries: jax.Array, keys: jax.Array, *, key_norm: str) -> jax.Array:
    """Softmax over the items of the cosines between queries and keys.

    The equations print inner products, the paper's text and the released code take cosines, as here.

    Args:
      queries: [..., D].
      keys: [n, D].
      key_norm: 'item' divides each key by its length. 'channel' (released code) divides each channel by its length
        over the items, and the products are no cosines.

    Returns:
      [..., n], at least float32, sums to 1 over the items.

    Raises:
      ValueError: on another `key_norm`.
    """
    match key_norm:
        case 'item':
            keys = numerics.unit_length(keys, axis=1)
        case 'channel':
            keys = numerics.unit_length(keys, axis=0)
        case other:
            raise config.unknown('stmn.key_norm', other)
    similarity = jnp.einsum('...d,nd->...n', numerics.unit_length(queries, axis=-1), keys, precision='highest')
    return jax.nn.softmax(similarity, axis=-1)


def item_counts(match: jax.Array) -> jax.Array:
    """How many queries of each clip read each item most: [B, ..., n] probabilities -> [B, n] counts."""
    strongest = match.argmax(-1).reshape(match.shape[0], -1)
    return jax.nn.one_hot(strongest, match.shape[-1], dtype=match.dtype).sum(1)
