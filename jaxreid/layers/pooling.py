"""Maximum and average over windows, along one axis at a time, and over whole frames.

Windows are separable, so a k x k pool is two passes of k shifted slices. These fuse with their neighbours, and on CPU
the gradient takes half the time of the window primitive's.

No maximum here is `jnp.max` or `jnp.maximum`: see `numerics` on their gradient.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxreid import config
from jaxreid.layers import numerics


def _slices(x, *, axis, extent, stride, low, high, fill):
    pads = [(0, 0)] * x.ndim
    pads[axis] = (low, high)
    padded = jnp.pad(x, pads, constant_values=fill)
    count = (padded.shape[axis] - extent) // stride + 1
    last = (count - 1) * stride + 1
    return [lax.slice_in_dim(padded, k, k + last, stride, axis=axis) for k in range(extent)]


def _over_slices(x, *, average, counts_padding, **window):
    if not average:
        return functools.reduce(numerics.larger, _slices(x, fill=-jnp.inf, **window))
    total = sum(_slices(x, fill=0, **window))
    if counts_padding:
        return total / window['extent']
    inside = jnp.ones([x.shape[i] if i == window['axis'] else 1 for i in range(x.ndim)], x.dtype)
    return total / sum(_slices(inside, fill=0, **window))


def same(x: jax.Array, *, axis: int, extent: int, average: bool, counts_padding: bool = True) -> jax.Array:
    """Pools windows of `extent` at every position; the shape is kept.

    Padded by (extent - 1) // 2 below and extent // 2 above: -inf for the maximum, zeros for the average, which count
    in its divisor where `counts_padding` (PyTorch's default).
    """
    low, high = (extent - 1) // 2, extent // 2
    return _over_slices(
        x, average=average, counts_padding=counts_padding, axis=axis, extent=extent, stride=1, low=low, high=high
    )


def strided(x: jax.Array, *, axis: int, extent: int, average: bool) -> jax.Array:
    """Pools consecutive windows of `extent`: n positions become ceil(n / extent), the last window may be shorter."""
    high = -x.shape[axis] % extent
    return _over_slices(
        x, average=average, counts_padding=False, axis=axis, extent=extent, stride=extent, low=0, high=high
    )


def stem_max(x: jax.Array, *, padding: int = 1) -> jax.Array:
    """ResNet's 3x3 maximum with stride 2 over axes 2 and 3 of [B, T, H, W, C]."""
    for axis in (3, 2):
        pads = {'low': padding, 'high': padding}
        x = _over_slices(x, average=False, counts_padding=False, axis=axis, extent=3, stride=2, **pads)
    return x


def whole(x: jax.Array, *, axes: tuple[int, ...], average: bool) -> jax.Array:
    """Pools the whole extent of neighbouring axes, in rising order; they keep length 1."""
    if average:
        return x.mean(axes, keepdims=True)
    merged = x.reshape(*x.shape[: axes[0]], -1, *x.shape[axes[-1] + 1 :])
    return jnp.expand_dims(numerics.largest(merged, axes[0]), axes)


def frames(x: jax.Array, *, kind: str) -> jax.Array:
    """One feature per frame: [B, T, H, W, C] -> [B, T, C] by global `kind` max or avg."""
    match kind:
        case 'max':
            return whole(x, axes=(2, 3), average=False)[:, :, 0, 0]
        case 'avg':
            return whole(x, axes=(2, 3), average=True)[:, :, 0, 0]
    raise config.unknown('backbone.frame_pool', kind)
