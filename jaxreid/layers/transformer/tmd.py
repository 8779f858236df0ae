"""Temporal memory diffusion: frames tell each other what they show (TF-CLIP, AAAI 2024)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers.transformer import blocks


class Tmd(nn.Module):
    """A message of every frame, attention of the messages over time, a block of attention within each frame."""

    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Tokens of the frames of a clip [B, T, N, D] -> features of the frames [B, T, D].

        The last mean is over all N + 1 tokens: the message counts as one.
        """
        b, t, n, d = tokens.shape
        message = blocks.dense(d, self.dtype, name='message')(tokens.mean(2))  # [B, T, D]
        attend = blocks.SelfAttention(self.heads, dtype=self.dtype, name='message_attn')
        message = message + attend(blocks.layer_norm(message, name='message_ln'))
        x = jnp.concatenate([tokens, message[:, :, None]], axis=2).reshape(b * t, n + 1, d)
        x = blocks.Block(self.heads, dtype=self.dtype, name='block')(x)
        return x.mean(1).reshape(b, t, d)
