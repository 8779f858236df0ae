"""The part of re-ranking that is all products: everyone's nearest items, on the accelerator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def neighbours(
    items: np.ndarray, num_queries: int, count: int, *, distance: str, coincide: float, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rerank._neighbours` on the default device, which holds `items` and the distances of `block` of them.

    Equal distances are ordered alike; distances that differ in their last digit may not be.
    """
    n = len(items)
    count, block = min(count, n), min(block, n)
    near = np.empty((n, count), np.int32)
    farthest = np.empty(n, items.dtype)
    original = np.empty((num_queries, n - num_queries), np.float32)
    held = jnp.asarray(items)
    for at in range(0, n, block):
        start = min(at, n - block)  # the last block overlaps the one before it, so that all have one shape
        rows = slice(start, start + block)
        near[rows], farthest[rows], d = _block(held, start, coincide, distance=distance, count=count, block=block)
        if start < num_queries:
            some = slice(start, min(start + block, num_queries))
            original[some] = np.asarray(d)[: some.stop - start, num_queries:] / farthest[some, None]
    return near, farthest, original


@functools.partial(jax.jit, static_argnames=('distance', 'count', 'block'))
def _block(items, start, coincide, *, distance, count, block):
    """Nearest items [block, count], each row's maximum [block] and distances [block, N]."""
    mine = jax.lax.dynamic_slice_in_dim(items, start, block)
    products = jnp.einsum('bd,nd->bn', mine, items, precision=jax.lax.Precision.HIGHEST)
    if distance == 'cosine':
        d = jnp.maximum(1 - products, 0)
    else:
        squares = jnp.square(items).sum(axis=1)
        own = jax.lax.dynamic_slice_in_dim(squares, start, block)
        d = jnp.maximum(own[:, None] + squares[None, :] - 2 * products, 0)
    top = d.max(axis=1)
    itself = jnp.arange(len(items))[None, :] == start + jnp.arange(block)[:, None]
    _, near = jax.lax.top_k(-jnp.where(itself, -1, d), count)  # of equals the lower index first
    return near, jnp.where(top > coincide, top, 1), d
