"""Spatial memory: what distracts from the person is read from items and taken off the feature map (STMN, ICCV 2021).

paper       here
q^s         query, [B, L, H, W, D]
f^o, f^s    person, and the refined map
k^s, v^s    `keys`, `values`
a           match
o           read
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm
from jaxreid.layers.memories import memory_match


class SpatialMemory(nn.Module):
    """Refines every position of every frame (eqs. 1-3): f^s = f^o - BN(sum_n a_n v_n).

    Parameters: `keys` and `values` [M, D], N(0, 1), and a BatchNorm `norm` whose shift starts at 0, and its scale at
    `scale_start`; at 0 the map is not changed at first.
    """

    items: int  # M
    norm: functools.partial[batch_norm.BatchNorm]  # BatchNorm with its mode, groups and mesh axis bound
    # what a query is. 'position': the D channels of a position. 'flat' (released code): D neighbours in the map of a
    # frame with its channels outermost, that is D / (H W) channels of all positions where H W divides D; what is read
    # is folded back the same way, so that BN's channels are no channels of the map.
    query_layout: str = 'position'
    key_norm: str = 'item'  # see `memory_match`
    scale_start: float = 0.0

    @nn.compact
    def __call__(self, query: jax.Array, person: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps query and person map, both [B, L, H, W, D], to the refined map and the match [B, L, H, W, M].

        Both are at least float32. With `query_layout='flat'` the places of the match are rows, not positions.
        """
        dtype = jnp.promote_types(person.dtype, jnp.float32)
        d = query.shape[-1]
        keys = self.param('keys', nn.initializers.normal(1), (self.items, d), dtype)
        values = self.param('values', nn.initializers.normal(1), (self.items, d), dtype)
        match self.query_layout:
            case 'position':
                queries = query
            case 'flat':
                queries = jnp.moveaxis(query, -1, 2).reshape(query.shape)
            case other:
                raise config.unknown('stmn.query_layout', other)
        match_map = memory_match.match_probabilities(queries, keys, key_norm=self.key_norm)
        # At first all queries match all items alike, and BN magnifies the small differences between the sums: they need
        # every digit of the product.
        read = jnp.einsum('blhwm,md->blhwd', match_map, values, precision='highest')
        read = self.norm(dtype=dtype, name='norm', scale_init=nn.initializers.constant(self.scale_start))(read)
        if self.query_layout == 'flat':
            b, l, h, w, _ = read.shape
            read = jnp.moveaxis(read.reshape(b, l, d, h, w), 2, -1)
        return person.astype(dtype) - read, match_map
