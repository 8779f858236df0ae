"""Long short-term memory over the frames of a clip, in PyTorch's layout (STMN's temporal memory, STAR's lstm)."""

import jax
import jax.numpy as jnp
from flax import linen as nn


def uniform_by_hidden(hidden: int) -> nn.initializers.Initializer:
    """Uniform in +-1 / sqrt(hidden), PyTorch's start of all four parameters."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(hidden**-0.5), hidden**-0.5)

    return init


class Lstm(nn.Module):
    """One layer, one direction, zero initial state.

    Parameters: `weight_ih` [4H, D], `weight_hh` [4H, H], `bias_ih` and `bias_hh` [4H], in PyTorch's order of gates
    (input, forget, cell, output). The two biases only ever act as their sum; both are kept so that names and counts
    are PyTorch's.
    """

    hidden: int  # H
    dtype: jnp.dtype = jnp.float32  # of the matrix products' operands; gates and state are at least float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to all hidden states [B, T, H], at least float32."""
        state_dtype = jnp.promote_types(self.dtype, jnp.float32)
        init = uniform_by_hidden(self.hidden)
        weight_ih = self.param('weight_ih', init, (4 * self.hidden, x.shape[-1]), state_dtype)
        weight_hh = self.param('weight_hh', init, (4 * self.hidden, self.hidden), state_dtype).astype(self.dtype)
        bias = self.param('bias_ih', init, (4 * self.hidden,), state_dtype)
        bias = bias + self.param('bias_hh', init, (4 * self.hidden,), state_dtype)

        def product(rows, weight):
            return jnp.einsum('...d,gd->...g', rows.astype(self.dtype), weight, preferred_element_type=state_dtype)

        # What the inputs add to the gates does not wait for the state: one product for all frames.
        from_input = product(x, weight_ih.astype(self.dtype)) + bias.reshape(1, 1, -1)  # [B, T, 4H]

        def step(state, added):
            h, c = state
            i, f, g, o = jnp.split(added + product(h, weight_hh), 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros_like(from_input[:, 0, : self.hidden])  # varies over devices as its rows do
        _, states = jax.lax.scan(step, (zero, zero), from_input.swapaxes(0, 1))
        return states.swapaxes(0, 1)
