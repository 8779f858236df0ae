"""A kernel of `batch_norm` for NVIDIA's GPUs, in Pallas: what is summed is read once, what is rectified not written.

XLA writes first where the result is positive, or the rectified gradient, and reads that again.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

ROWS, CHANNELS = 256, 64  # of a block, which must fit the registers


def fit(x: jax.Array) -> bool:
    """Whether the kernel takes x [S, R, C]: of 16 bits, of whole blocks."""
    return x.dtype.itemsize == 2 and x.shape[1] % ROWS == 0 and x.shape[2] % CHANNELS == 0


def sums(
    x: jax.Array, g: jax.Array, mean: jax.Array, gain: jax.Array, bias: jax.Array, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Sums [S, C], float32, of g and of g times (x - mean), where (x - mean) gain + bias is positive.

    x, g: [S, R, C]. mean, gain, bias: [S, C], float32.
    """

    def kernel(x, g, moments, total, slope):
        centred = x[...].astype(jnp.float32) - moments[0][None]
        rectified = jnp.where(centred * moments[1][None] + moments[2][None] > 0, g[...].astype(jnp.float32), 0)
        total[...] = rectified.sum(0)
        slope[...] = (rectified * centred).sum(0)

    s, r, c = x.shape
    moments = jnp.stack([mean, gain, bias, jnp.zeros_like(mean)], 1)  # four: Triton's arrays have powers of two
    block = pl.BlockSpec((None, ROWS, CHANNELS), lambda s, i, j: (s, i, j))
    out = jax.ShapeDtypeStruct((s, r // ROWS, c), jnp.float32, manual_axis_type=jax.typeof(g).manual_axis_type)
    total, slope = pl.pallas_call(
        kernel,
        grid=(s, r // ROWS, c // CHANNELS),
        in_specs=[block, block, pl.BlockSpec((None, 4, CHANNELS), lambda s, i, j: (s, 0, j))],
        out_specs=[pl.BlockSpec((None, None, CHANNELS), lambda s, i, j: (s, i, j))] * 2,
        out_shape=[out, out],
        compiler_params=triton.CompilerParams(num_warps=8),
        interpret=interpret,
    )(x, g, moments)
    return total.sum(1), slope.sum(1)
