"""Attention within a frame: LSTA of STAR (BMVC 2019, eqs 4-5) and what it is compared with (docs/star.md).

Every module maps [B, T, H, W, C] to the same shape and dtype, and gives the weights of the positions [B, T, H, W] where
it weighs positions. Gates are computed in at least float32.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid import config
from jaxreid.layers import pooling

DILATIONS = {'dilated': (1, 2, 3), 'plain': (1, 1, 1)}
SCALES = 3  # parallel 3x3 convolutions of LSTA's spatial gate
GATE_INIT = nn.initializers.lecun_normal()

Attended = tuple[jax.Array, jax.Array | None]


class ChannelMlp(nn.Module):
    """The two layers of a channel gate, C -> C / reduction, ReLU, C / reduction -> C.

    Attributes:
      reduction: r.
      sum_hidden: sum the pools between the layers (LSTA) instead of after them (CBAM, where the second bias counts once
        per pool).
    """

    reduction: int
    sum_hidden: bool = True

    @nn.compact
    def __call__(self, pools: jax.Array) -> jax.Array:
        """Maps pools [B, T, K, C] to the gate's logits [B, T, C]."""
        c = pools.shape[-1]
        hidden = nn.relu(_dense(_reduced(c, self.reduction), pools.dtype, name='squeeze')(pools))
        expand = _dense(c, pools.dtype, name='expand')
        return expand(hidden.sum(2)) if self.sum_hidden else expand(hidden).sum(2)


class SpatialGate(nn.Module):
    """Logits of the spatial gate [B, T, H, W] from mean and maximum over channels.

    Attributes:
      kind: 'dilated', three 3x3 convolutions with dilation 1, 2, 3 and ReLU, joined by a 1x1 convolution; 'plain', the
        same without dilation; 'conv7', one 7x7 convolution.
      shared: the 3x3 convolutions share their kernel (eq. 5 indexes only the bias by the scale); biases are their own.
      use_bias: of the 7x7 convolution; CBAM has none.
    """

    kind: str
    shared: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, _ = x.shape
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        maps = jnp.concatenate([pooling.whole(x, axes=(4,), average=a) for a in (True, False)], axis=-1)
        maps = maps.reshape(b * t, h, w, 2)
        zeros = nn.initializers.zeros
        match self.kind:
            case 'conv7':
                y = _convolve(maps, self.param('kernel', GATE_INIT, (7, 7, 2, 1), x.dtype), dilation=1)
                if self.use_bias:
                    y = y + self.param('bias', zeros, (1,), x.dtype)[None, None, None]
            case 'dilated' | 'plain':
                kernels = self.param('kernel', GATE_INIT, (3, 3, 2, 1 if self.shared else SCALES), x.dtype)
                bias = self.param('bias', zeros, (SCALES,), x.dtype)
                own = [kernels] * SCALES if self.shared else jnp.split(kernels, SCALES, axis=-1)
                dilations = DILATIONS[self.kind]
                scales = [_convolve(maps, k, dilation=d) for k, d in zip(own, dilations, strict=True)]
                y = nn.relu(jnp.concatenate(scales, axis=-1) + bias[None, None, None])  # [BT, H, W, 3]
                y = _dense(1, x.dtype, name='join')(y)
            case _:
                raise config.unknown('star.lsta_spatial', self.kind)
        return y.reshape(b, t, h, w)


class Lsta(nn.Module):
    """Channel gate, then spatial gate: one hidden layer sees mean and maximum, summed before the second (eqs 4-5).

    Attributes:
      reduction: r, channels per hidden unit of the channel gate.
      spatial: kind of the spatial gate, see SpatialGate; 'off': the channel gate alone.
      shared: see SpatialGate.
    """

    reduction: int
    spatial: str = 'dilated'
    shared: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        x = _scale_channels(x, ChannelMlp(self.reduction, name='channel')(_mean_and_maximum(x)))
        if self.spatial == 'off':
            return x, None
        return _scale_positions(x, jax.nn.sigmoid(SpatialGate(self.spatial, self.shared, name='spatial')(x)))


class Cbam(nn.Module):
    """Channel gate whose two layers both see mean and maximum, then one 7x7 convolution (Woo et al., ECCV 2018)."""

    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        x = _scale_channels(x, ChannelMlp(self.reduction, sum_hidden=False, name='channel')(_mean_and_maximum(x)))
        return _scale_positions(x, jax.nn.sigmoid(SpatialGate('conv7', use_bias=False, name='spatial')(x)))


class SqueezeExcite(nn.Module):
    """Channel gate on the mean alone (Hu et al., CVPR 2018)."""

    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        mean = _mean_and_maximum(x)[:, :, :1]
        return _scale_channels(x, ChannelMlp(self.reduction, name='channel')(mean)), None


class Holistic(nn.Module):
    """Softmax over the positions of a frame, times their number, so that the mean weight is 1: no neighbourhood enters.

    e = W_b relu(W_a f) per position, W_a C -> C / reduction, both without bias.
    """

    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        b, t, h, w, c = x.shape
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        hidden = nn.relu(_dense(_reduced(c, self.reduction), dtype, use_bias=False, name='hidden')(x.astype(dtype)))
        energy = _dense(1, dtype, use_bias=False, name='energy')(hidden)
        weights = jax.nn.softmax(energy.reshape(b, t, h * w), axis=-1) * (h * w)
        return _scale_positions(x, weights.reshape(b, t, h, w))


def _dense(features, dtype, *, name, use_bias=True):
    return nn.Dense(features, use_bias, dtype=dtype, param_dtype=dtype, kernel_init=GATE_INIT, name=name)


def _reduced(channels, reduction):
    if channels % reduction:
        raise ValueError(
            f'star.attention_reduction = {reduction} does not divide the {channels} channels of a feature map; choose '
            'a divisor of 4 backbone.width.'
        )
    return channels // reduction


def _mean_and_maximum(x):  # [B, T, 2, C]
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.stack([pooling.frames(x, kind=kind) for kind in ('avg', 'max')], axis=2)


def _scale_channels(x, logits):  # [B, T, C]
    return x * jax.nn.sigmoid(logits)[:, :, None, None].astype(x.dtype)


def _scale_positions(x, weights):  # [B, T, H, W]
    return x * weights[..., None].astype(x.dtype), weights


def _convolve(x, kernel, *, dilation):
    """Keeps the size of [N, H, W, Ci]; zeros outside."""
    reach = kernel.shape[0] // 2 * dilation
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(reach, reach)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
