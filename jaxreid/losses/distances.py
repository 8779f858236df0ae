"""Distances between rows of features, differentiable, for the losses on the device (docs/training.md).

Evaluation ranks with the NumPy twins in `evaluation/ordering/ranking.py`.
"""

import jax
import jax.numpy as jnp

from jaxreid.layers import numerics

# Squared lengths below this count as this, so that roots have finite slopes. Those of `euclidean` are differences of
# products, and below it what rounding left; `cosine` ends where it does. `numerics.unit_length`, inside networks, has
# sums of squares only and goes down to 1e-24.
SMALLEST_SQUARE = 1e-12


def euclidean(a: jax.Array, b: jax.Array) -> jax.Array:
    """sqrt(max(d², 1e-12)) between the rows of `a` [N, D] and `b` [M, D]: [N, M], at least float32.

    Pairs closer than 1e-6 get that distance and no gradient.
    """
    a, b = _at_least_float32(a, b)
    # |a|² + |b|² - 2ab cancels badly where a common offset dwarfs the differences. A shift of both changes no distance.
    centre = jax.lax.stop_gradient(b.mean(axis=0, keepdims=True))
    a, b = a - centre, b - centre
    squared = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None, :] - 2 * _products(a, b)
    return jnp.sqrt(numerics.at_least(squared, SMALLEST_SQUARE))


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Minus the cosine between the rows of `a` [N, D] and `b` [M, D]: [N, M] in [-1, 1], at least float32.

    Rows shorter than 1e-6 are divided by 1e-6 instead of their length.
    """
    a, b = _at_least_float32(a, b)
    return -_products(_normalised(a), _normalised(b))


def _at_least_float32(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    return a.astype(dtype), b.astype(dtype)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    # Accelerators multiply float32 in bfloat16 or TF32 unless told otherwise, which costs three digits of a distance.
    return jnp.einsum('nd,md->nm', a, b, precision=jax.lax.Precision.HIGHEST)


def _normalised(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(numerics.at_least(jnp.sum(x * x, axis=1, keepdims=True), SMALLEST_SQUARE))
