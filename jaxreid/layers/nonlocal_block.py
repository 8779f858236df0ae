"""Embedded-Gaussian non-local block over space and time (Wang et al., CVPR 2018; STRF section 3.3)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers import batch_norm, spatial_conv


class NonLocalBlock(nn.Module):
    """x + BN(W softmax(theta(x) phi(x)^T) g(x)); phi and g are max-pooled by 2 x 2, BN starts at scale 0.

    All projections are 1x1x1 with bias, to half the channels and back, so the block starts as the identity. Keys are
    taken from all frames of the clip. The softmax is at least float32.
    """

    norm: functools.partial[batch_norm.BatchNorm]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, T, H, W, C]
        b, _, h, w, c = x.shape
        soft_dtype = jnp.promote_types(self.dtype, jnp.float32)
        dense = functools.partial(
            nn.Dense, dtype=self.dtype, param_dtype=soft_dtype, kernel_init=spatial_conv.HE_FAN_OUT
        )
        window = (1, min(2, h), min(2, w))

        def pooled(y):
            return nn.max_pool(y, window, window).reshape(b, -1, c // 2)

        theta = dense(c // 2, name='theta')(x).reshape(b, -1, c // 2)  # [B, T*P, C/2]
        phi = pooled(dense(c // 2, name='phi')(x))  # [B, T*P/4, C/2]
        g = pooled(dense(c // 2, name='g')(x))
        scores = jnp.einsum('bpc,bqc->bpq', theta, phi, preferred_element_type=soft_dtype)
        attention = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        y = jnp.einsum('bpq,bqc->bpc', attention, g).reshape(*x.shape[:-1], c // 2)
        return x + self.norm(scale_init=nn.initializers.zeros, name='norm')(dense(c, name='out')(y))
