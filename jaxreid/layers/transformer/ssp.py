"""Sequence-specific prompts: what a clip shows changes the memory of every identity (TF-CLIP, AAAI 2024)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers.transformer import blocks

LAYERS = 2
HEAD_CHANNELS = 64


def dropout(x: jax.Array, keys: jax.Array | None, *, rate: float, number: int) -> jax.Array:
    """Zeroes entries of [B, N, D] and scales the rest; every clip draws from its own of the keys [B]. None: as it is.

    `number` tells one place in the network from another.
    """
    if keys is None or not rate:
        return x

    def of_clip(x, key):
        keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0)

    return jax.vmap(of_clip)(x, keys)


class Attention(nn.Module):
    """Queries [B, N, P] over tokens [B, M, P]; q, k and v without bias, as the released code has them."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        p = x.shape[-1]
        q = blocks.dense(p, self.dtype, use_bias=False, name='q')(x)
        k, v = (blocks.dense(p, self.dtype, use_bias=False, name=name)(tokens) for name in ('k', 'v'))
        return blocks.dense(p, self.dtype, name='proj')(blocks.attend(q, k, v, heads=self.heads))


class Ssp(nn.Module):
    """Two decoder layers from the memory to the tokens of a clip: what is added to the memory of each identity."""

    dropout: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, memory: jax.Array, tokens: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Runs on the memory [K, P] of K identities and projected tokens [B, N, P], means over the frames of a clip.

        `keys` [B]: dropout draws from them; None: no dropout. Returns [B, K, P] of `dtype`.
        """
        p, dtype = memory.shape[-1], self.dtype
        heads = max(1, p // HEAD_CHANNELS)

        def projected(x, name):
            return blocks.dense(p, dtype, name=name)(blocks.layer_norm(x.astype(dtype), name=f'{name}_ln'))

        tokens = blocks.layer_norm(projected(tokens, 'tokens'), name='tokens_ln_out')
        x = projected(jnp.broadcast_to(memory[None], (len(tokens), *memory.shape)), 'memory')
        for i in range(LAYERS):
            at, name = 4 * i, f'layer{i}_'
            y = blocks.layer_norm(x, name=f'{name}norm1')
            y = Attention(heads, dtype, name=f'{name}self')(y, y)
            x = x + dropout(y, keys, rate=self.dropout, number=at)
            y = blocks.layer_norm(x, name=f'{name}norm2')
            y = Attention(heads, dtype, name=f'{name}cross')(y, tokens)
            x = x + dropout(y, keys, rate=self.dropout, number=at + 1)
            y = blocks.dense(4 * p, dtype, name=f'{name}fc')(blocks.layer_norm(x, name=f'{name}norm3'))
            y = dropout(blocks.quick_gelu(y), keys, rate=self.dropout, number=at + 2)
            y = blocks.dense(p, dtype, name=f'{name}proj')(y)
            x = x + dropout(y, keys, rate=self.dropout, number=at + 3)
        return projected(x, 'out')
