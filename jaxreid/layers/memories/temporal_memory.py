"""How much each frame of a clip counts, read from a memory of sequences or from a small network (STMN, ICCV 2021).

paper       here
q^t         query, the last hidden state of an LSTM over the frames
k^t, v^t    `keys`, `values`
a           match
o, its softmax   the frame weights before and after it
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers import lstm
from jaxreid.layers.memories import memory_match


def uniform_by_inputs(key, shape, dtype=jnp.float32):
    """Uniform in +-1 / sqrt(inputs) for a kernel [inputs, outputs]: PyTorch's start of a linear layer."""
    return jax.random.uniform(key, shape, dtype, -(shape[0] ** -0.5), shape[0] ** -0.5)


class TemporalMemory(nn.Module):
    """Frame weights softmax_L(sum_n a_n v_n) (eqs. 4-7).

    Parameters: LSTM `lstm`, `keys` [N, D], N(0, 1), and `values` [N, L], U(0, 1): a clip has exactly L frames.
    """

    items: int  # N
    key_norm: str = 'item'  # see `memory_match`
    dtype: jnp.dtype = jnp.float32  # of the LSTM's products

    @nn.compact
    def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps frame queries [B, L, D] to weights [B, L] that sum to 1 and the match [B, N], at least float32."""
        query = lstm.Lstm(frames.shape[-1], dtype=self.dtype, name='lstm')(frames)[:, -1]
        keys = self.param('keys', nn.initializers.normal(1), (self.items, query.shape[-1]), query.dtype)
        values = self.param('values', nn.initializers.uniform(1), (self.items, frames.shape[1]), query.dtype)
        match = memory_match.match_probabilities(query, keys, key_norm=self.key_norm)
        return jax.nn.softmax(jnp.einsum('bn,nl->bl', match, values, precision='highest'), axis=-1), match


class TemporalMlp(nn.Module):
    """Frame weights softmax_L(W2 relu(W1 q^t)), what the paper compares the memory with (section 4.2).

    Parameters: LSTM `lstm`, `inner` [D, hidden] and `outer` [hidden, L], no biases; with as many hidden units as a
    memory has items there are as many parameters. Their start is ours, the paper names none.
    """

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        """Maps frame queries [B, L, D] to weights [B, L] that sum to 1, at least float32."""
        query = lstm.Lstm(frames.shape[-1], dtype=self.dtype, name='lstm')(frames)[:, -1]
        inner = self.param('inner', uniform_by_inputs, (query.shape[-1], self.hidden), query.dtype)
        outer = self.param('outer', uniform_by_inputs, (self.hidden, frames.shape[1]), query.dtype)
        return jax.nn.softmax(nn.relu(query @ inner) @ outer, axis=-1)
