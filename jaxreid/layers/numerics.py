"""Arithmetic that several layers share."""

import jax
import jax.numpy as jnp

SHORTEST = 1e-24  # squared length of the shortest vector that has a direction


def unit_length(x: jax.Array, *, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """x divided by its length over `axis`, at least float32.

    Vectors shorter than 1e-12 become zeros and pass no gradient: the slope of their direction would be the inverse of
    their length.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squares = (x * x).sum(axis, keepdims=True)
    # A comparison of the inputs: see `pooling` on the gradient of jnp.maximum.
    has_direction = squares > SHORTEST
    return x * jnp.where(has_direction, jax.lax.rsqrt(jnp.where(has_direction, squares, 1)), 0)
