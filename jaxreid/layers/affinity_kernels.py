"""Kernels of `affinity` for NVIDIA's GPUs, in Pallas: whole rows of a mask stay in registers.

XLA writes the covariance in float32 and reads it again, and reads twice what it differentiates. (Compiled for an H200,
these two kernels take a quarter off what a STRF unit of 512 positions moves.)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

POSITIONS = (16, 1024)  # a row must fit the registers, and Triton's arrays have powers of two
_BLOCK = 16_384  # numbers of a block of rows


def fit(vectors: jax.Array) -> bool:
    """Whether the kernels take masks of vectors [B, P, d]: of 16 bits, P a power of two that is not too large."""
    p = vectors.shape[1]
    return vectors.dtype.itemsize == 2 and POSITIONS[0] <= p <= POSITIONS[1] and p.bit_count() == 1


def mask(vectors: jax.Array, *, kappa: float, interpret: bool = False) -> jax.Array:
    """softmax(kappa V V^T) [B, P, P] of V [B, P, d], in its dtype."""
    d = vectors.shape[2]
    wide = jnp.pad(vectors, ((0, 0), (0, 0), (0, max(16, 1 << (d - 1).bit_length()) - d)))

    def kernel(rows, columns, out):
        product = (((1,), (1,)), ((), ()))
        logits = kappa * lax.dot_general(rows[...], columns[...], product, preferred_element_type=jnp.float32)
        weights = jnp.exp(logits - logits.max(1, keepdims=True))
        out[...] = (weights / weights.sum(1, keepdims=True)).astype(out.dtype)

    whole = pl.BlockSpec((None, *wide.shape[1:]), lambda b, i: (b, 0, 0))
    return _by_rows(kernel, wide, wide, whole=whole, interpret=interpret)


def through_softmax(mask: jax.Array, slope: jax.Array, *, kappa: float, interpret: bool = False) -> jax.Array:
    """Gradient [B, P, P] with respect to V V^T of a mask of it, from that with respect to the mask, in its dtype."""

    def kernel(mask, slope, out):
        m, s = mask[...].astype(jnp.float32), slope[...].astype(jnp.float32)
        out[...] = (kappa * m * (s - (m * s).sum(1, keepdims=True))).astype(out.dtype)

    return _by_rows(kernel, mask, slope, interpret=interpret)


def _by_rows(
    kernel: Callable[..., None], a: jax.Array, b: jax.Array, *, whole: pl.BlockSpec | None = None, interpret: bool
) -> jax.Array:
    """[B, P, P] from two arrays [B, P, n], a block of rows at a time; of the second `whole`, if given."""
    count, p, _ = a.shape
    rows = min(p, _BLOCK // p)

    def block(width):
        return pl.BlockSpec((None, rows, width), lambda b, i: (b, i, 0))

    return pl.pallas_call(
        kernel,
        grid=(count, p // rows),
        in_specs=[block(a.shape[2]), whole or block(b.shape[2])],
        out_specs=block(p),
        out_shape=jax.ShapeDtypeStruct((count, p, p), a.dtype, manual_axis_type=jax.typeof(a).manual_axis_type),
        compiler_params=triton.CompilerParams(num_warps=8),
        interpret=interpret,
    )(a, b)
