"""Integration and distribution module (IDM of SINet, CVPR 2022): every position of a clip hears of all others.

Few channels are made of all, and in each of them few numbers of all T * H * W positions: the clip is integrated. What
they say is distributed back to the positions, then to the channels. Positions have weights of their own, so the module
is made for one length and one size of clips.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers import batch_norm, spatial_conv


class IntegrationDistribution(nn.Module):
    """relu(x + E(y + P(y))): y = BN(C x) has C / reduction channels, P mixes positions by way of P / reduction numbers.

    E starts at zero, so a map without negative numbers leaves the fresh module as it came.
    """

    norm: functools.partial[batch_norm.BatchNorm]
    reduction: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, H, W, C] -> the same. Raises ValueError: another number of positions than the parameters have."""
        b, t, h, w, c = x.shape
        places = t * h * w
        dense = functools.partial(
            nn.Dense,
            dtype=self.dtype,
            param_dtype=jnp.promote_types(self.dtype, jnp.float32),
            kernel_init=spatial_conv.HE_FAN_OUT,
        )
        if min(c, places) < self.reduction:
            raise ValueError(
                f'of {c} channels and {places} positions sinet.reduction = {self.reduction} leaves none; choose a '
                'smaller one.'
            )
        held = self.variables.get('params', {}).get('place_reduction', {}).get('kernel')
        if held is not None and len(held) != places:
            raise ValueError(
                f'clips of {t} frames with {h} x {w} positions each, but this module of SINet has weights for '
                f'{len(held)} positions in all; give clips of the length and size of the training '
                "(config.sampler.frames, data.height, data.width), or leave the module out with sinet.idm='()'."
            )
        x = x.astype(self.dtype)
        y = dense(c // self.reduction, use_bias=False, name='channel_reduction')(x)
        y = self.norm(name='channel_norm')(y).reshape(b, places, -1).swapaxes(1, 2)  # [B, C / reduction, P]
        few = dense(places // self.reduction, use_bias=False, name='place_reduction')(y)
        y = y + dense(places, name='place_expansion')(self.norm(name='place_norm')(few))
        y = y.swapaxes(1, 2).reshape(b, t, h, w, -1)
        return nn.relu(x + dense(c, kernel_init=nn.initializers.zeros, name='channel_expansion')(y))
