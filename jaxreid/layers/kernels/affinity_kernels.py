"""Kernels of `affinity` for NVIDIA's GPUs, in Pallas: whole rows of the masks stay in registers.

XLA writes the covariance in float32 and reads it again, writes and reads every mask, and reads twice what it
differentiates. Of all masks here only their sum is written; the backward pass makes them again.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

POSITIONS = (16, 1024)  # a row must fit the registers, and Triton's arrays have powers of two
_BLOCK = 8192  # numbers of a block of rows, of which there are 16 at least


def fit(vectors: Sequence[jax.Array]) -> bool:
    """Whether the kernels take masks of all `vectors` [B, P, d]: of 16 bits, P a power of two that is not too large."""
    p = vectors[0].shape[1]
    small = all(v.dtype.itemsize == 2 for v in vectors)
    return small and POSITIONS[0] <= p <= POSITIONS[1] and p.bit_count() == 1


def mixture(
    vectors: Sequence[jax.Array], *, kappa: float, interpret: bool = False
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array, jax.Array]]]:
    """Sum of the masks softmax(kappa V V^T) of all `vectors` V [B, P, d], [B, P, P] in their dtype.

    With it comes of every mask, in float32: of its rows the entropy and the weight of their own position, [B, P] each,
    and summed over rows the weights [B, P].
    """
    b, p, _ = vectors[0].shape

    def kernel(first_row, inputs, slopes, outs):
        del slopes
        total, *shown = outs
        here = jnp.zeros(total.shape, jnp.float32)
        for k, (rows, columns) in enumerate(inputs):
            m = _weights(rows, columns, kappa)
            here += m
            row, column = (lax.broadcasted_iota(jnp.int32, m.shape, axis) for axis in (0, 1))
            shown[3 * k][...] = -jnp.where(m > 0, m * jnp.log(jnp.where(m > 0, m, 1)), 0).sum(1)
            shown[3 * k + 1][...] = jnp.where(row + first_row == column, m, 0).sum(1)
            shown[3 * k + 2][...] = m.sum(0)
        total[...] = here.astype(total.dtype)

    blocks = p // _rows(p)
    of_rows = ((b, p), (None, _rows(p)), lambda b, i: (b, i))
    of_columns = ((b, blocks, p), (None, None, p), lambda b, i: (b, i, 0))
    total, *shown = _by_rows(kernel, vectors, [], 1, [of_rows, of_rows, of_columns] * len(vectors), interpret=interpret)
    return total, [(x, own, columns.sum(1)) for x, own, columns in zip(*(shown[k::3] for k in range(3)), strict=True)]


def through_softmax(
    vectors: Sequence[jax.Array], slope: jax.Array, *, kappa: float, interpret: bool = False
) -> list[jax.Array]:
    """Gradients [B, P, P] with respect to V V^T of all masks, from that with respect to their sum, in its dtype."""

    def kernel(first_row, inputs, slopes, outs):
        del first_row
        s = slopes[0][...].astype(jnp.float32)
        for (rows, columns), out in zip(inputs, outs, strict=True):
            m = _weights(rows, columns, kappa)
            out[...] = (kappa * m * (s - (m * s).sum(1, keepdims=True))).astype(out.dtype)

    return list(_by_rows(kernel, vectors, [slope], len(vectors), [], interpret=interpret))


def _weights(rows, columns, kappa):  # of a block of rows, rounded as they are where there are no kernels
    product = (((1,), (1,)), ((), ()))
    logits = kappa * lax.dot_general(rows[...], columns[...], product, preferred_element_type=jnp.float32)
    weights = jnp.exp(logits - logits.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(rows.dtype).astype(jnp.float32)


def _rows(p: int) -> int:
    return max(16, min(p, _BLOCK // p))


def _by_rows(
    kernel: Callable[..., None], vectors: Sequence[jax.Array], slopes: list[jax.Array], masks: int, shown: list, *,
    interpret: bool,
) -> Sequence[jax.Array]:  # fmt: skip
    """As many masks [B, P, P], and what is `shown` (shape, block and its place), a block of rows at a time.

    kernel: gets the number of its first row and references to rows and all of every V, to `slopes` and to the results.
    """
    b, p, _ = vectors[0].shape
    rows, n = _rows(p), len(vectors)
    wide = [
        jnp.pad(v, ((0, 0), (0, 0), (0, max(16, 1 << (v.shape[2] - 1).bit_length()) - v.shape[2]))) for v in vectors
    ]

    def block(width):
        return pl.BlockSpec((None, rows, width), lambda b, i: (b, i, 0))

    def whole(width):
        return pl.BlockSpec((None, p, width), lambda b, i: (b, 0, 0))

    def result(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=jax.typeof(vectors[0]).manual_axis_type)

    def on_references(*references):
        pairs = [references[2 * k : 2 * k + 2] for k in range(n)]
        ends = 2 * n + len(slopes)
        kernel(pl.program_id(1) * rows, pairs, references[2 * n : ends], references[ends:])

    return pl.pallas_call(
        on_references,
        grid=(b, p // rows),
        in_specs=[spec for v in wide for spec in (block(v.shape[2]), whole(v.shape[2]))] + [block(p)] * len(slopes),
        out_specs=[block(p)] * masks + [pl.BlockSpec(part, place) for _, part, place in shown],
        out_shape=[result((b, p, p), vectors[0].dtype)] * masks + [result(shape, jnp.float32) for shape, *_ in shown],
        compiler_params=triton.CompilerParams(num_warps=8),
        interpret=interpret,
    )(*(v for one in wide for v in (one, one)), *slopes)
