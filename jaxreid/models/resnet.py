"""ResNet on clips [B, T, H, W, C]: every kernel sees one frame, but in chosen bottlenecks, where a 3-D block takes the
place of the middle convolution (He et al. 2016; spec sections 1 and 2.5). Stem, stages and bottlenecks are separate
modules, so that systems can share, copy or leave out stages.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm, nonlocal_block, pooling, spatial_conv, strf_unit, temporal_conv

EXPANSION = 4  # output channels of a bottleneck per plane

Norm = functools.partial[batch_norm.BatchNorm]


class Stem(nn.Module):
    """7x7/2 convolution, BN, ReLU, 3x3/2 maximum: [B, T, H, W, C] -> [B, T, H/4, W/4, width]."""

    width: int
    norm: Norm
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = spatial_conv.SpatialConv(self.width, 7, 2, dtype=self.dtype, name='conv1')(x)
        return pooling.stem_max(nn.relu(self.norm(name='bn1')(x)))


class Bottleneck(nn.Module):
    """1x1, middle, 1x1 convolution, each with BN, and the shortcut.

    Attributes:
      planes: channels of the middle convolution; the output has four times as many.
      stride: spatial stride of the middle convolution and of the shortcut.
      block: what the middle convolution is, one of config.BLOCKS. All give the function of 'c2d' at init.
      strf: settings of the STRF unit in front of it, or None.
    """

    planes: int
    stride: int
    block: str
    strf: config.Strf | None
    norm: Norm
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Maps [B, T, H, W, C] to [B, T, H / stride, W / stride, 4 planes] and the unit's mask entropy, if any."""
        conv = functools.partial(spatial_conv.SpatialConv, dtype=self.dtype)
        width = EXPANSION * self.planes
        y = nn.relu(self.norm(name='bn1')(conv(self.planes, 1, name='conv1')(x)))
        y, entropy = self._middle(y)
        y = nn.relu(self.norm(name='bn2')(y))
        y = self.norm(name='bn3')(conv(width, 1, name='conv3')(y))
        if self.stride != 1 or x.shape[-1] != width:
            x = self.norm(name='downsample_bn')(conv(width, 1, self.stride, name='downsample_conv')(x))
        return nn.relu(x + y), entropy

    def _middle(self, x):
        if self.block == 'i3d':
            conv2 = temporal_conv.InflatedConv(self.stride, dtype=self.dtype, name='conv2')
        else:
            conv2 = spatial_conv.SpatialConv(self.planes, 3, self.stride, dtype=self.dtype, name='conv2')
        temporal = functools.partial(temporal_conv.TemporalConv, dtype=self.dtype, name='temporal')

        def unit(f):
            return (f, None) if self.strf is None else strf_unit.StrfUnit(self.strf, dtype=self.dtype, name='strf')(f)

        match self.block, '3x1x1' if self.strf is None else self.strf.location:
            case 'c2d', _:
                return conv2(x), None
            case 'i3d', '3x1x1' | '1x3x3':  # space and time are one convolution: both names mean the same
                f, entropy = unit(x)
                return conv2(f), entropy
            case 'p3da', '3x1x1':
                f, entropy = unit(conv2(x))
                return temporal(kernel_init=temporal_conv.centre_tap(temporal_conv.identity))(f), entropy
            case 'p3da', '1x3x3':
                f, entropy = unit(x)
                return temporal(kernel_init=temporal_conv.centre_tap(temporal_conv.identity))(conv2(f)), entropy
            case 'p3db', '3x1x1':
                f, entropy = unit(x)
                return conv2(x) + temporal(self.stride)(f), entropy
            case 'p3db', '1x3x3':
                f, entropy = unit(x)
                return conv2(f) + temporal(self.stride)(x), entropy
            case 'p3dc', '3x1x1':
                y = conv2(x)
                f, entropy = unit(y)
                return y + temporal()(f), entropy
            case 'p3dc', '1x3x3':
                f, entropy = unit(x)
                y = conv2(f)
                return y + temporal()(y), entropy
        raise ValueError(
            f'backbone.block = {self.block!r}, strf.location = {getattr(self.strf, "location", None)!r}; choose one of '
            f'{config.BLOCKS} and 3x1x1 or 1x3x3.'
        )


class Stage(nn.Module):
    """A row of bottlenecks; where `block` is not 'c2d' every other one, from the first, is replaced.

    Attributes:
      depth: number of bottlenecks.
      block: of the replaced bottlenecks; 'c2d' replaces none.
      strf: settings of a unit in every replaced bottleneck, or None.
      nonlocal_after: bottlenecks that a non-local block follows.
      remat: keep only the bottlenecks' inputs for the backward pass.
    """

    planes: int
    depth: int
    stride: int
    block: str
    strf: config.Strf | None
    norm: Norm
    nonlocal_after: Sequence[int] = ()
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps [B, T, H, W, C] to [B, T, H / stride, W / stride, 4 planes] and mask entropies by bottleneck name."""
        beyond = [i for i in self.nonlocal_after if i >= self.depth]
        if beyond:
            raise ValueError(f'non-local blocks after bottlenecks {beyond}, but {self.name} has {self.depth}.')
        bottleneck = nn.remat(Bottleneck) if self.remat else Bottleneck
        entropies = {}
        for i in range(self.depth):
            replaced = i % 2 == 0 and self.block != 'c2d'
            x, entropy = bottleneck(
                planes=self.planes,
                stride=self.stride if i == 0 else 1,
                block=self.block if replaced else 'c2d',
                strf=self.strf if replaced else None,
                norm=self.norm,
                dtype=self.dtype,
                name=f'block{i}',
            )(x)
            if entropy is not None:
                entropies[f'block{i}'] = entropy
            if i in self.nonlocal_after:
                x = nonlocal_block.NonLocalBlock(self.norm, dtype=self.dtype, name=f'nonlocal{i}')(x)
        return x, entropies
