"""BN neck and classifier on the clip feature (docs/strf.md)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm


def scale_around_one(key, shape, dtype=jnp.float32):
    """N(1, 0.02)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class Head(nn.Module):
    """Neck and classifier."""

    # 'a' (AP3D, STRF): neck scale N(1, 0.02) and trained shift, classifier with bias. 'b' (STMN, STE-NVAN): neck
    # scale 1 and frozen shift, classifier without bias. 'plain' (STA, STAR): no neck, classifier without bias.
    # Classifier weights are N(0, 0.001).
    kind: str
    num_ids: int
    norm: functools.partial[batch_norm.BatchNorm]  # BatchNorm with its mode, groups and mesh axis bound

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps [B, D] float32 or float64 to the embedding [B, D] and logits [B, num_ids] of the same dtype."""
        dtype = feature.dtype
        match self.kind:
            case 'a':
                embedding = self.norm(dtype=dtype, name='neck', scale_init=scale_around_one)(feature)
            case 'b':
                embedding = self.norm(dtype=dtype, name='neck', frozen_bias=True)(feature)
            case 'plain':
                embedding = feature
            case _:
                raise config.unknown('head.kind', self.kind)
        weights = self.param('classifier', nn.initializers.normal(0.001), (feature.shape[-1], self.num_ids), dtype)
        logits = embedding @ weights
        if self.kind == 'a':
            bias = self.param('classifier_bias', nn.initializers.zeros, (self.num_ids,), dtype)
            logits = logits + bias[None]
        return embedding, logits
