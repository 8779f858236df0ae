"""Convolutional LSTM over the feature maps of a clip (Shi et al., NIPS 2015; STAR, BMVC 2019, eq. 6)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid.layers import spatial_conv

GATES = 4  # input, forget, candidate, output, in this order along the output channels


class ConvLstm(nn.Module):
    """One layer, 3x3 kernels, zero initial state, no peepholes: [B, T, H, W, C] -> hidden maps [B, T, H, W, hidden].

    gates = conv([x_t, h_{t-1}]) + b; i, f, o pass a sigmoid, g the tangent; c_t = f c_{t-1} + i g; h_t = o tanh(c_t).
    Parameters: `kernel` [3, 3, C + hidden, 4 hidden], `bias` [4 hidden]. Convolutions run in `dtype`, the states in at
    least float32, which is the dtype of the result.
    """

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, t, h, w, c = x.shape
        state_dtype = jnp.promote_types(self.dtype, jnp.float32)
        shape = (3, 3, c + self.hidden, GATES * self.hidden)
        kernel = self.param('kernel', nn.initializers.lecun_normal(), shape, state_dtype).astype(self.dtype)
        bias = self.param('bias', nn.initializers.zeros, (GATES * self.hidden,), state_dtype)
        from_input, from_hidden = kernel[:, :, :c], kernel[:, :, c:]

        # The inputs of all frames in one convolution; only the hidden maps' part waits for the frame before.
        gates = spatial_conv.convolve(x.reshape(b * t, h, w, c).astype(self.dtype), from_input, stride=1)
        gates = gates.astype(state_dtype) + bias[None, None, None]
        gates = jnp.moveaxis(gates.reshape(b, t, h, w, -1), 1, 0)  # [T, B, H, W, 4 hidden]

        def cell(gates, memory):
            i, f, g, o = jnp.split(gates, GATES, axis=-1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            return memory, jax.nn.sigmoid(o) * jnp.tanh(memory)

        def step(carry, gates):
            memory, hidden = carry
            recurrent = spatial_conv.convolve(hidden.astype(self.dtype), from_hidden, stride=1)
            memory, hidden = cell(gates + recurrent.astype(state_dtype), memory)
            return (memory, hidden), hidden

        first = cell(gates[0], 0.0)  # the state before it is zero: no recurrent convolution
        _, later = lax.scan(step, first, gates[1:])
        return jnp.moveaxis(jnp.concatenate([first[1][None], later]), 0, 1)
