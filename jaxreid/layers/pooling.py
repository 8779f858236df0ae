"""Maximum and average over windows, along one axis at a time, and over whole frames.

Windows are separable, so a k x k pool is two passes of k shifted slices. These fuse with their neighbours, and on CPU
the gradient takes half the time of the window primitive's.

No maximum here is `jnp.max` or `jnp.maximum`: see `numerics` on their gradient.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def stem_max(x: jax.Array, relu: bool, padding: int = 1) -> jax.Array:
    """ResNet's 3x3 maximum with stride 2 over axes 2 and 3 of [B, T, H, W, C], rectified if asked to.

    For the gradient a byte per result is kept that says where in its window it was found: of equal numbers the first
    in the first row that has it, as by a pass over each axis.
    """
    for axis in (2, 3):
        x = _over_slices(
            x, average=False, counts_padding=False, axis=axis, extent=3, stride=2, low=padding, high=padding
        )
    return nn.relu(x) if relu else x


_NOWHERE = 9  # behind the nine places of a window


def _stem_forward(x, relu, padding):
    windows = {'extent': 3, 'stride': 2, 'low': padding, 'high': padding, 'fill': -jnp.inf}

    def larger(a, b):  # as numerics.larger, with what belongs to them
        first = (a[0] >= b[0]) | (a[0] != a[0])
        return tuple(jnp.where(first, *both) for both in zip(a, b, strict=True))

    rows = []
    for r, row in enumerate(_slices(x, axis=2, **windows)):
        columns = _slices(row, axis=3, **windows)
        places = [jnp.full(columns[0].shape, 3 * r + c, jnp.uint8) for c in range(3)]
        rows.append(functools.reduce(larger, zip(columns, places, strict=True)))
    largest, place = functools.reduce(larger, rows)
    if relu:
        largest, place = nn.relu(largest), jnp.where(largest > 0, place, _NOWHERE)
    return largest, (place, x.shape[2:4])


def _stem_backward(relu, padding, kept, g):
    del relu
    place, sizes = kept

    def spread(v, k, axis):  # puts results where the k-th number of their windows lies
        low, span = k - padding, 2 * v.shape[axis] - 1
        pads = [(0, 0, 0)] * v.ndim
        pads[axis] = low, sizes[axis - 2] - low - span, 1
        return lax.pad(v, jnp.zeros((), v.dtype), pads)

    columns = [spread(sum(spread(jnp.where(place == 3 * r + c, g, 0), r, 2) for r in range(3)), c, 3) for c in range(3)]
    return (sum(columns),)


stem_max.defvjp(_stem_forward, _stem_backward)


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
