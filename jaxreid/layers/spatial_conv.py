"""Convolution of every frame of a clip by one 2-D kernel, time folded into the batch."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves [N, H, W, Ci] with [k, k, Ci, Co], k odd, padded by k // 2 on both sides as in PyTorch.

    'SAME' padding would put the odd pixel of a stride of 2 on the other side and shift pretrained weights by a pixel.
    """
    size = kernel.shape[0]
    if size == 1:
        # A matrix product: on CPU faster than the convolution primitive, its gradient more so.
        x = x[:, ::stride, ::stride]
        y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
        return y.reshape(*x.shape[:-1], -1)
    pad_px = (size // 2, size // 2)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad_px, pad_px), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


class SpatialConv(nn.Module):
    """Bias-free k x k convolution of [B, T, H, W, C]; parameter `kernel` [k, k, C, features]."""

    features: int
    size: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, c = x.shape
        param_dtype = jnp.promote_types(self.dtype, jnp.float32)
        kernel = self.param('kernel', self.kernel_init, (self.size, self.size, c, self.features), param_dtype)
        y = convolve(x.reshape(b * t, h, w, c).astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)
        return y.reshape(b, t, *y.shape[1:])
