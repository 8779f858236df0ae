"""Attention within a frame: LSTA of STAR (BMVC 2019, eqs 4-5) and what it is compared with (docs/star.md).

Every module maps [B, T, H, W, C] to the same shape and dtype, and gives the weights of the positions [B, T, H, W] where
it weighs positions. Gates are computed in at least float32.

`gates` says how they start. 'identity': the last kernel of a gate is zero and the gate twice a sigmoid, so that the
module changes nothing at first and can strengthen as well as weaken. 'sigmoid', the papers' letter: random kernels and
a sigmoid, at first a random mask that is nearly the same for all frames (docs/star.md).
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid import config
from jaxreid.layers import batch_norm, pooling

DILATIONS = {'dilated': (1, 2, 3), 'plain': (1, 1, 1)}
SCALES = 3  # parallel 3x3 convolutions of LSTA's spatial gate
GATE_INIT = nn.initializers.lecun_normal()

Attended = tuple[jax.Array, jax.Array | None]


def last_init(gates: str) -> nn.initializers.Initializer:
    """Where the last kernel of a gate starts."""
    return nn.initializers.zeros if _is_identity(gates) else GATE_INIT


def gate(logits: jax.Array, gates: str) -> jax.Array:
    """Factors from logits: 1 at 0 with 'identity', 1/2 with 'sigmoid'."""
    return jax.nn.sigmoid(logits) * (2 if _is_identity(gates) else 1)


def _is_identity(gates):
    if gates not in ('identity', 'sigmoid'):
        raise config.unknown('star.gates', gates)
    return gates == 'identity'


def dense(features, dtype, *, name, use_bias=True, kernel_init=GATE_INIT) -> nn.Dense:
    """A linear layer that computes in the dtype of its parameters."""
    return nn.Dense(features, use_bias, dtype=dtype, param_dtype=dtype, kernel_init=kernel_init, name=name)


class ChannelMlp(nn.Module):
    """The two layers of a channel gate, C -> C / reduction, ReLU, C / reduction -> C."""

    reduction: int  # r
    # sum the pools between the layers (LSTA) instead of after them (CBAM, where the second bias counts once per pool)
    sum_hidden: bool = True
    gates: str = 'identity'  # see the top of the file

    @nn.compact
    def __call__(self, pools: jax.Array) -> jax.Array:
        """Maps pools [B, T, K, C] to the gate's logits [B, T, C]."""
        c = pools.shape[-1]
        hidden = nn.relu(dense(_reduced(c, self.reduction), pools.dtype, name='squeeze')(pools))
        expand = dense(c, pools.dtype, kernel_init=last_init(self.gates), name='expand')
        return expand(hidden.sum(2)) if self.sum_hidden else expand(hidden).sum(2)


class SpatialGate(nn.Module):
    """Logits of the spatial gate [B, T, H, W] from mean and maximum over channels."""

    # 'dilated', three 3x3 convolutions with dilation 1, 2, 3 and ReLU, joined by a 1x1 convolution; 'plain', the same
    # without dilation; 'conv7', one 7x7 convolution
    kind: str
    # the 3x3 convolutions share their kernel (eq. 5 indexes only the bias by the scale); biases are their own.
    shared: bool = False
    # BatchNorm after the 7x7 convolution, which has no bias then (CBAM)
    norm: functools.partial[batch_norm.BatchNorm] | None = None
    gates: str = 'identity'  # see the top of the file

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, _ = x.shape
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        maps = jnp.concatenate([pooling.whole(x, axes=(4,), average=a) for a in (True, False)], axis=-1)
        maps = maps.reshape(b * t, h, w, 2)
        zeros = nn.initializers.zeros
        match self.kind:
            case 'conv7':
                init = GATE_INIT if self.norm else last_init(self.gates)
                y = _convolve(maps, self.param('kernel', init, (7, 7, 2, 1), x.dtype), dilation=1)
                if self.norm is None:
                    y = y + self.param('bias', zeros, (1,), x.dtype)[None, None, None]
                else:
                    y = y.reshape(b, t, h, w, 1)  # statistics run over clips
                    y = self.norm(dtype=y.dtype, scale_init=zeros, name='norm')(y)
            case 'dilated' | 'plain':
                kernels = self.param('kernel', GATE_INIT, (3, 3, 2, 1 if self.shared else SCALES), x.dtype)
                bias = self.param('bias', zeros, (SCALES,), x.dtype)
                own = [kernels] * SCALES if self.shared else jnp.split(kernels, SCALES, axis=-1)
                dilations = DILATIONS[self.kind]
                scales = [_convolve(maps, k, dilation=d) for k, d in zip(own, dilations, strict=True)]
                y = nn.relu(jnp.concatenate(scales, axis=-1) + bias[None, None, None])  # [BT, H, W, 3]
                y = dense(1, x.dtype, kernel_init=last_init(self.gates), name='join')(y)
            case _:
                raise config.unknown('star.lsta_spatial', self.kind)
        return y.reshape(b, t, h, w)


class Lsta(nn.Module):
    """Channel gate, then spatial gate: one hidden layer sees mean and maximum, summed before the second (eqs 4-5)."""

    reduction: int  # r, channels per hidden unit of the channel gate
    spatial: str = 'dilated'  # kind of the spatial gate, see SpatialGate; 'off': the channel gate alone
    shared: bool = False  # see SpatialGate
    gates: str = 'identity'  # see the top of the file, here and below

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        logits = ChannelMlp(self.reduction, gates=self.gates, name='channel')(_mean_and_maximum(x))
        x = _scale_channels(x, gate(logits, self.gates))
        if self.spatial == 'off':
            return x, None
        logits = SpatialGate(self.spatial, self.shared, gates=self.gates, name='spatial')(x)
        return _scale_positions(x, gate(logits, self.gates))


class Cbam(nn.Module):
    """Channel gate whose two layers both see mean and maximum, then one 7x7 convolution and BN (Woo et al., ECCV 2018).

    In the authors' code BN's scale starts at 0: their spatial gate starts constant, whatever `gates` says.
    """

    reduction: int
    norm: functools.partial[batch_norm.BatchNorm]
    gates: str = 'identity'

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        mlp = ChannelMlp(self.reduction, sum_hidden=False, gates=self.gates, name='channel')
        x = _scale_channels(x, gate(mlp(_mean_and_maximum(x)), self.gates))
        return _scale_positions(x, gate(SpatialGate('conv7', norm=self.norm, name='spatial')(x), self.gates))


class SqueezeExcite(nn.Module):
    """Channel gate on the mean alone (Hu et al., CVPR 2018)."""

    reduction: int
    gates: str = 'identity'

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        mean = _mean_and_maximum(x)[:, :, :1]
        logits = ChannelMlp(self.reduction, gates=self.gates, name='channel')(mean)
        return _scale_channels(x, gate(logits, self.gates)), None


class Holistic(nn.Module):
    """Softmax over the positions of a frame, times their number, so that the mean weight is 1: no neighbourhood enters.

    e = W_b relu(W_a f) per position, W_a C -> C / reduction, both without bias. With 'identity' W_b starts at zero.
    """

    reduction: int
    gates: str = 'identity'

    @nn.compact
    def __call__(self, x: jax.Array) -> Attended:
        b, t, h, w, c = x.shape
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        hidden = nn.relu(dense(_reduced(c, self.reduction), dtype, use_bias=False, name='hidden')(x.astype(dtype)))
        energy = dense(1, dtype, use_bias=False, kernel_init=last_init(self.gates), name='energy')(hidden)
        weights = jax.nn.softmax(energy.reshape(b, t, h * w), axis=-1) * (h * w)
        return _scale_positions(x, weights.reshape(b, t, h, w))


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


def _scale_channels(x, factors):  # [B, T, C]
    return x * factors[:, :, None, None].astype(x.dtype)


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
