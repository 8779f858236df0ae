"""3x1x1 convolution along time, and I3D's 3x3x3 convolution, without a 3-D convolution primitive.

The primitives of cuDNN and XLA are several times slower for these kernels and have been wrong in bfloat16.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid.layers import spatial_conv

TAPS = 3  # frames that a temporal kernel sees: before, same, after


def shifted(x: jax.Array) -> Sequence[jax.Array]:
    """The frame before, the frame and the frame after, for every frame of [B, T, ...]; zeros outside the clip."""
    t = x.shape[1]
    padded = jnp.pad(x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2))
    return [lax.slice_in_dim(padded, k, k + t, axis=1) for k in range(TAPS)]


def centre_tap(value_init: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """Initialises the middle slice of [3, ...] by `value_init` and the outer ones by zero."""

    def init(key, shape, dtype=jnp.float32):
        middle = value_init(key, shape[1:], dtype)
        return jnp.stack([jnp.zeros_like(middle), middle, jnp.zeros_like(middle)])

    return init


def identity(key, shape, dtype=jnp.float32):
    """[C, C] identity matrix, as an initialiser."""
    del key
    rows, columns = shape
    return jnp.eye(rows, columns, dtype=dtype)


class TemporalConv(nn.Module):
    """Bias-free 3x1x1 convolution C -> C of [B, T, H, W, C]; parameter `kernel` [3, C, C].

    `neighbours`, two maps of the result's shape, take the place of the frames before and after (AP3D).
    """

    stride: int = 1  # spatial stride (P3D-B); time is never strided
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, neighbours: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        c = x.shape[-1]
        kernel = self.param('kernel', self.kernel_init, (TAPS, c, c), jnp.promote_types(self.dtype, jnp.float32))
        x = x[:, :, :: self.stride, :: self.stride].astype(self.dtype)
        if neighbours is None:
            # A convolution of images whose rows are frames.
            b, t, h, w, _ = x.shape
            y = lax.conv_general_dilated(
                x.reshape(b, t, h * w, c).swapaxes(1, 2), kernel[None].astype(self.dtype), (1, 1), ((0, 0), (1, 1)),
                dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            )  # fmt: skip
            return y.swapaxes(1, 2).reshape(x.shape)
        # One product over the joined frames: its gradient is twice as fast as that of three products.
        rows = jnp.concatenate((neighbours[0], x, neighbours[1]), axis=-1).reshape(-1, TAPS * c)
        return (rows @ kernel.reshape(TAPS * c, c).astype(self.dtype)).reshape(x.shape)


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves [B, T, H, W, Ci] with [3, 3, 3, Ci, Co], time first: zeros outside, `stride` in space only."""
    b, t, h, w, c = x.shape
    # All three slices in one 2-D convolution with 3 Co outputs; the shifts move outputs, not inputs, so that only x is
    # kept for the backward pass.
    flat = jnp.moveaxis(kernel, 0, 3).reshape(3, 3, c, -1)
    y = spatial_conv.convolve(x.reshape(b * t, h, w, c), flat, stride=stride)
    y = y.reshape(b, t, *y.shape[1:3], TAPS, -1)
    before, same, after = (shifted(y[..., k, :])[k] for k in range(TAPS))
    return before + same + after


class InflatedConv(nn.Module):
    """Bias-free 3x3x3 convolution C -> C of [B, T, H, W, C] (I3D); parameter `kernel` [3, 3, 3, C, C], time first.

    Starts as its 2-D centre slice. `neighbours`, two maps of the shape of x, take the place of the frames before
    and after (AP3D).
    """

    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, neighbours: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        c = x.shape[-1]
        init = centre_tap(spatial_conv.HE_FAN_OUT)
        kernel = self.param('kernel', init, (TAPS, 3, 3, c, c), jnp.promote_types(self.dtype, jnp.float32))
        kernel = kernel.astype(self.dtype)
        if neighbours is None:
            return convolve(x.astype(self.dtype), kernel, stride=self.stride)
        b, t, h, w, _ = x.shape
        frames = jnp.concatenate([neighbours[0], x, neighbours[1]], axis=-1).reshape(b * t, h, w, TAPS * c)
        joined = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, TAPS * c, c)
        y = spatial_conv.convolve(frames.astype(self.dtype), joined, stride=self.stride)
        return y.reshape(b, t, *y.shape[1:])
