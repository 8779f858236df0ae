"""Positions mixed by how alike they are: softmax(kappa V V^T) X, summed over branches, with a gradient of its own.

That is what STRF's masks do with the positions of a clip (`strf_unit`). Autodiff would keep and send back every mask in
float32, and multiply it so precisely that a GPU or TPU needs six passes. Here products take the dtype of the features
and add up in float32. Where there are many positions only some rows of the masks are in memory at a time; they are made
again in the backward pass, as in FlashAttention (Dao et al., NeurIPS 2022).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxreid.layers.kernels import affinity_kernels

# Up to so many positions the masks are made whole, and kept for the backward pass. Above, ROWS rows are made at a time.
MAX_POSITIONS = 1024
ROWS = 256
ENTROPY_STRIDE = 16  # the logged entropy looks at every 16th row of a mask; divides ROWS


def mix(
    features: jax.Array, vectors: Sequence[jax.Array], *, kappa: float, transposed: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum over branches of M X, where M = softmax(kappa V V^T) has rows that sum to 1.

    Args:
      features: X, [B, P, D]: a row holds all that is mixed of a position.
      vectors: V of every branch, [B, P, d], at least float32; rounded to the dtype of `features` for the products.
      kappa: factor on the covariance.
      transposed: takes M^T instead of M.

    Returns:
      [B, P, D] in the dtype of `features`, and scalars without a gradient, means over the branches: `mask_entropy` of
      the rows in nats; `mask_own`, the weight of a position in its own row; `mask_busiest`, the largest mean weight
      that a position has over all rows: 1 / P at least, 1 where all look at the same one.
    """
    mixed, (entropy, own, columns) = _mix(features, list(vectors), kappa, transposed)
    b, p, _ = features.shape
    means = {
        'mask_entropy': [x / (b * -(-p // ENTROPY_STRIDE)) for x in entropy],
        'mask_own': [x / (b * p) for x in own],
        'mask_busiest': [x.max(-1).mean() / p for x in columns],
    }
    return mixed, {name: sum(values) / len(values) for name, values in means.items()}


def masks(rows: Sequence[jax.Array], vectors: Sequence[jax.Array], positions: jax.Array, kappa: float):
    """Of every branch the rows [B, R, P] of its mask that belong to `rows` [B, R, d] of its `vectors` [B, P, d].

    They have the dtype of the vectors. With them comes what they show, for every branch: summed over the rows entropy
    [] (of every 16th row), weight of their own `positions` [1, R], [], and weights [B, P].
    """

    def mask(r, v):
        return jax.nn.softmax(kappa * _product('bpd,bqd->bpq', r, v), -1).astype(v.dtype)

    made = [mask(r, v) for r, v in zip(rows, vectors, strict=True)]
    # XLA must not keep what they are rounded from, which is twice as large.
    made = lax.optimization_barrier(made)
    own = positions[..., None] == jnp.arange(vectors[0].shape[1])[None, None]  # [1, R, P]
    shown = []
    for m in made:
        m = m.astype(jnp.promote_types(m.dtype, jnp.float32))
        some = m[:, ::ENTROPY_STRIDE]
        entropy = -jnp.where(some > 0, some * jnp.log(jnp.where(some > 0, some, 1)), 0)
        shown.append((entropy.sum(), jnp.where(own, m, 0).sum(1).sum(), m.sum(1)))
    return made, tuple(map(list, zip(*shown, strict=True)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _mix(features, vectors, kappa, transposed):
    # No kernels: what only tests may be exported for several platforms at once.
    return _forward(features, vectors, kappa, transposed, kernels=False)[0]


def _forward(features, vectors, kappa, transposed, kernels=True):
    kernels = kernels and features.shape[1] <= MAX_POSITIONS
    vectors = [v.astype(features.dtype) for v in vectors]

    def added(made, shown, vectors):
        del vectors
        return functools.reduce(jnp.add, made), shown

    def by_kernel(made, shown, vectors):  # who takes these needs no masks: XLA does not make them
        del made, shown
        total, shown = affinity_kernels.mixture(vectors, kappa=kappa)
        shown = [(entropy[:, ::ENTROPY_STRIDE].sum(), own.sum(), columns) for entropy, own, columns in shown]
        return total, tuple(map(list, zip(*shown, strict=True)))

    def tile(x, rows, positions):
        # M X + N X = (M + N) X: one product for all branches
        made, shown = masks(rows, vectors, positions, kappa)
        if kernels and affinity_kernels.fit(vectors):
            total, shown = lax.platform_dependent(made, shown, vectors, cuda=by_kernel, default=added)
        else:
            total, shown = added(made, shown, vectors)
        if transposed:
            return (jnp.einsum('bpq,bpd->bqd', total, x), shown), None, (made, total)
        return (None, shown), jnp.einsum('bpq,bqd->bpd', total, features), (made, total)

    (everywhere, shown), here, whole = _by_rows(tile, features, vectors, _positions(features))
    mixed = (everywhere if transposed else here).astype(features.dtype)
    return (mixed, shown), (features, vectors, whole)


def _backward(kappa, transposed, kept, slopes):
    features, vectors, whole = kept
    slope, _ = slopes  # of what the masks show nobody asks a gradient

    def through_softmax(mask, mask_slope):
        m, s = (z.astype(jnp.promote_types(z.dtype, jnp.float32)) for z in (mask, mask_slope))
        return (kappa * m * (s - (m * s).sum(-1, keepdims=True))).astype(mask.dtype)

    def through_each(masks, slope, vectors):
        del vectors
        return [through_softmax(mask, slope) for mask in masks]

    def by_kernel(masks, slope, vectors):
        del masks
        return affinity_kernels.through_softmax(vectors, slope, kappa=kappa)

    def added(masks, total):
        del total
        return functools.reduce(jnp.add, masks)

    def tile(x, y_slope, rows, positions):
        here, total = whole or (masks(rows, vectors, positions, kappa)[0], None)
        kernels = whole and affinity_kernels.fit(vectors)
        if kernels:
            total = lax.platform_dependent(here, total, cuda=lambda here, total: total, default=added)
        else:
            total = added(here, total)
        if transposed:
            mask_slope = jnp.einsum('bpd,bqd->bpq', x, slope)
            x_here, x_everywhere = jnp.einsum('bpq,bqd->bpd', total, slope), None
        else:
            mask_slope = jnp.einsum('bpd,bqd->bpq', y_slope, features)
            x_here, x_everywhere = None, jnp.einsum('bpq,bpd->bqd', total, y_slope)
        v_here, v_everywhere = [], []
        if kernels:
            slopes = lax.platform_dependent(here, mask_slope, vectors, cuda=by_kernel, default=through_each)
        else:
            slopes = through_each(here, mask_slope, vectors)
        for g, r, v in zip(slopes, rows, vectors, strict=True):
            # (G + G^T) V as two products: their sum would be an array more, written and read.
            v_here.append(_product('bpq,bqd->bpd', g, v))
            v_everywhere.append(_product('bpq,bpd->bqd', g, r))
        return (x_everywhere, v_everywhere), (x_here, v_here), None

    (x_everywhere, v_everywhere), (x_here, v_here), _ = _by_rows(tile, features, slope, vectors, _positions(features))
    to_features = (x_here if transposed else x_everywhere).astype(features.dtype)
    return to_features, [a + b for a, b in zip(v_here, v_everywhere, strict=True)]


_mix.defvjp(_forward, _backward)


def _positions(features):
    return jnp.arange(features.shape[1])[None]


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """einsum that adds up in at least float32 and returns that; of float32 with all of its bits."""
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(equation, a, b, precision='highest' if a.dtype == dtype else None, preferred_element_type=dtype)


def _by_rows(tile: Callable[..., tuple[Any, Any, Any]], *arrays: Any) -> tuple[Any, Any, Any]:
    """What `tile` makes of trees of arrays [B, P, ...]: at once, or ROWS positions at a time.

    tile: maps trees of rows [B, R, ...] to sums, which are added up over tiles, in at least float32; rows [B, R, ...],
      which are joined; and what is kept, which is None where there are several tiles.
    """
    p = jax.tree.leaves(arrays)[0].shape[1]
    if p <= MAX_POSITIONS:
        return tile(*arrays)

    def cut(first, count):
        return jax.tree.map(lambda z: lax.dynamic_slice_in_dim(z, first, count, 1), arrays)

    def add(sums, first):
        more, rows, _ = tile(*cut(first, ROWS))
        return jax.tree.map(jnp.add, sums, more), rows

    inside = (p - 1) // ROWS * ROWS  # the last tile may be smaller; it starts the sums
    sums, last, _ = tile(*cut(inside, p - inside))
    sums = jax.tree.map(lambda z: z.astype(jnp.promote_types(z.dtype, jnp.float32)), sums)
    sums, rows = lax.scan(add, sums, jnp.arange(0, inside, ROWS))

    def joined(z, end):  # [tiles, B, ROWS, D], [B, R, D]
        return jnp.concatenate([jnp.moveaxis(z, 0, 1).reshape(z.shape[1], inside, -1), end], 1)

    return sums, jax.tree.map(joined, rows, last), None
