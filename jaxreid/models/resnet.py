"""ResNet on clips [B, T, H, W, C]: every kernel sees one frame, but in chosen bottlenecks, where a 3-D block takes the
place of the middle convolution (He et al. 2016; docs/strf.md). Stem, stages and bottlenecks are separate
modules, so that systems can share, copy or leave out stages.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid import config
from jaxreid.layers import (
    appearance_preserving,
    batch_norm,
    pooling,
    spatial_conv,
    strf_unit,
    temporal_conv,
)

EXPANSION = 4  # output channels of a bottleneck per plane

Norm = functools.partial[batch_norm.BatchNorm]
Shown = dict[str, jax.Array] | jax.Array | None


class Stem(nn.Module):
    """7x7/2 convolution, BN, ReLU unless `relu=False`, 3x3/2 maximum: [B, T, H, W, C] -> [B, T, H/4, W/4, width]."""

    width: int
    norm: Norm
    dtype: jnp.dtype = jnp.float32
    relu: bool = True
    padding: int = 1  # of the maximum

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = spatial_conv.SpatialConv(self.width, 7, 2, dtype=self.dtype, name='conv1')(x)
        # The maximum rectifies: in front of it are four times as many numbers.
        return pooling.stem_max(self.norm(name='bn1')(x), self.relu, self.padding)


class Bottleneck(nn.Module):
    """1x1, middle, 1x1 convolution, each with BN, and the shortcut."""

    planes: int  # channels of the middle convolution; the output has four times as many
    stride: int  # spatial stride of the middle convolution and of the shortcut
    block: str  # what the middle convolution is, as `backbone.block`. All give the function of 'c2d' at init.
    strf: config.Strf | None  # settings of the STRF unit in front of it, or None
    norm: Norm
    dtype: jnp.dtype = jnp.float32
    final_relu: bool = True  # rectify the sum with the shortcut
    # makes a module of `frame_attention` that weighs the branch in front of that sum; or None
    attention: Callable[..., nn.Module] | None = None
    ap3d: config.Ap3d | None = None  # settings of the module in the blocks ap3d_*, which need it

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, Shown]:
        """Maps [B, T, H, W, C] to [B, T, H / stride, W / stride, 4 planes] and what is worth seeing, if anything.

        That is what the unit says of its masks, or the weights of the positions [B, T, H / stride, W / stride] where
        the attention weighs positions.
        """
        conv = functools.partial(spatial_conv.SpatialConv, dtype=self.dtype)
        width = EXPANSION * self.planes
        into = x
        if self.stride != 1:
            # The gradient of the strided shortcut is then added where both are read, and not written among zeros.
            into = lax.optimization_barrier(x)
        y = self.norm(relu=True, name='bn1')(conv(self.planes, 1, name='conv1')(into))
        y, seen = self._middle(y)
        y = self.norm(relu=True, name='bn2')(y)
        y = conv(width, 1, name='conv3')(y)
        if self.stride != 1 or x.shape[-1] != width:
            x = self.norm(name='downsample_bn')(conv(width, 1, self.stride, name='downsample_conv')(x))
        if self.attention is None:
            return self.norm(relu=self.final_relu, name='bn3')(y, shortcut=x), seen
        y, seen = self.attention(name='attention')(self.norm(name='bn3')(y))
        return (nn.relu(x + y) if self.final_relu else x + y), seen

    def _middle(self, x):
        """What stands between the 1x1 convolutions, and what the STRF unit in it shows."""
        if self.block not in config.choices('backbone.block'):
            raise config.unknown('backbone.block', self.block)
        if self.strf is not None and self.strf.location not in config.choices('strf.location'):
            raise config.unknown('strf.location', self.strf.location)
        aligned, shown = self.block in config.AP3D_BLOCKS, None
        if aligned and self.strf is not None:
            raise ValueError(f'backbone.block = {self.block!r}: the blocks ap3d_* take no STRF unit.')

        def unit(f, *locations):
            """Of the STRF unit where it sits here, or what it would be given."""
            nonlocal shown
            if self.strf is None or self.strf.location not in locations:
                return f
            f, shown = strf_unit.StrfUnit(self.strf, dtype=self.dtype, name='strf')(f)
            return f

        def neighbours(f, stride=1):
            """The frames before and after as AP3D aligns them; None: as they are."""
            module = appearance_preserving.AppearancePreserving
            return module(self.ap3d, stride, dtype=self.dtype, name='apm')(f) if aligned else None

        def space(f):
            conv2 = spatial_conv.SpatialConv(self.planes, 3, self.stride, dtype=self.dtype, name='conv2')
            return conv2(unit(f, '1x3x3'))

        def time(f, stride=1, **start):
            f = unit(f, '3x1x1')
            temporal = temporal_conv.TemporalConv(stride, dtype=self.dtype, name='temporal', **start)
            return temporal(f, neighbours(f, stride))

        match self.block:
            case 'c2d':
                return space(x), None
            case 'i3d' | 'ap3d_i3d':  # space and time are one convolution: both locations mean the same
                f = unit(x, '3x1x1', '1x3x3')
                conv2 = temporal_conv.InflatedConv(self.stride, dtype=self.dtype, name='conv2')
                return conv2(f, neighbours(f)), shown
            case 'p3da' | 'ap3d_a':
                return time(space(x), kernel_init=temporal_conv.centre_tap(temporal_conv.identity)), shown
            case 'p3db' | 'ap3d_b':
                return space(x) + time(x, self.stride), shown
        y = space(x)
        return y + time(y), shown


class Stage(nn.Module):
    """A row of bottlenecks; where `block` is not 'c2d' every other one, from the first, is replaced."""

    planes: int
    depth: int  # number of bottlenecks
    stride: int
    block: str  # of the replaced bottlenecks; 'c2d' replaces none
    strf: config.Strf | None  # settings of a unit in every replaced bottleneck, or None
    norm: Norm
    after: Mapping[int, Callable[[], nn.Module]] | None = None  # bottleneck -> makes a module that follows it
    remat: bool = False  # keep only the bottlenecks' inputs for the backward pass
    dtype: jnp.dtype = jnp.float32
    final_relu: bool = True  # whether the last bottleneck ends with a ReLU
    attention: Callable[..., nn.Module] | None = None  # of every bottleneck, or None
    ap3d: config.Ap3d | None = None  # of the blocks ap3d_*

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, dict[str, Shown]]:
        """Maps [B, T, H, W, C] to [B, T, H / stride, W / stride, 4 planes] and by bottleneck name what each shows."""
        after = self.after or {}
        beyond = [i for i in after if i >= self.depth]
        if beyond:
            raise ValueError(f'modules are to follow bottlenecks {beyond}, but {self.name} has {self.depth}.')
        bottleneck = nn.remat(Bottleneck) if self.remat else Bottleneck
        shown: dict[str, Shown] = {}
        for i in range(self.depth):
            replaced = i % 2 == 0 and self.block != 'c2d'
            x, seen = bottleneck(
                planes=self.planes,
                stride=self.stride if i == 0 else 1,
                block=self.block if replaced else 'c2d',
                strf=self.strf if replaced else None,
                norm=self.norm,
                dtype=self.dtype,
                final_relu=self.final_relu or i + 1 < self.depth,
                ap3d=self.ap3d,
                attention=self.attention,
                name=f'block{i}',
            )(x)
            if seen is not None:
                shown[f'block{i}'] = seen
            if i in after:
                x = after[i]()(x)
        return x, shown


def stage(backbone: config.Backbone, number: int, norm: Norm, *, suffix: str = '', **rest: Any) -> Stage:
    """Stage `number`, 1 to 4, of a backbone as the module `layer<number><suffix>`.

    C2D without units, unless `rest`, further fields of `Stage`, says otherwise.
    """
    return Stage(
        planes=backbone.width * 2 ** (number - 1),
        depth=backbone.depths[number - 1],
        stride=backbone.strides[number - 1],
        norm=norm,
        name=f'layer{number}{suffix}',
        **{'block': 'c2d', 'strf': None} | rest,
    )
