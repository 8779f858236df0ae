"""Arithmetic that layers and losses share.

Nothing that is differentiated here takes `jnp.max`, `jnp.maximum` or their kin: their gradient asks which inputs equal
the result, and a compiler that computes an input twice, rounded differently, finds none or another (seen with XLA on
CPU: gradients of whole channels lost). Comparing inputs with one another always chooses exactly one, on ties the first,
as PyTorch does.
"""

import jax
import jax.numpy as jnp

SHORTEST = 1e-24  # squared length of the shortest vector that has a direction


def unit_length(x: jax.Array, *, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """x divided by its length over `axis`, at least float32.

    Vectors shorter than 1e-12 become zeros and pass no gradient: the slope of their direction would be the inverse of
    their length. That is where PyTorch's `F.normalize` ends; features that are compared end at 1e-6, see
    `losses.distances`.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squares = (x * x).sum(axis, keepdims=True)
    has_direction = squares > SHORTEST
    return x * jnp.where(has_direction, jax.lax.rsqrt(jnp.where(has_direction, squares, 1)), 0)


def at_least(x: jax.Array, least: float) -> jax.Array:
    """x where it is larger than `least`, which has no gradient."""
    return jnp.where(x > least, x, least)


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger of two, element by element; NaN wins."""
    return jnp.where((a >= b) | (a != a), a, b)


def largest(x: jax.Array, axis: int) -> jax.Array:
    """The largest along an axis, which goes."""
    where = jnp.argmax(x, axis)
    here = jax.lax.broadcasted_iota(where.dtype, x.shape, axis) == jnp.expand_dims(where, axis)
    return jnp.where(here, x, 0).sum(axis)
