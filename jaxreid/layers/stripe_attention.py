"""Spatial-temporal attention without parameters over stripes of a clip's frames (STA, AAAI 2019; docs/sta.md).

paper        here
f_n          features of frame n, after ReLU
N, K         T frames, `stripes`
g_n          `attention_map`, one weight per position (eq. 1)
S(n, k)      `stripe_scores`, one weight per frame and stripe (eqs. 2-4)
F1, F2       `strongest`, `weighted` (Algorithm 1)
"""

import jax
import jax.numpy as jnp

from jaxreid import config

TINY = 1e-30  # sums up to this count as zero: nothing fired, and what they would divide becomes uniform


def attention_map(features: jax.Array, *, kind: str) -> jax.Array:
    """How strongly each position of a frame fires, relative to its frame (eq. 1).

    Args:
      features: [B, T, H, W, D].
      kind: 'energy': squared length over the frame's sum, a distribution. 'l2' (public re-implementation): lengths,
        normalised to a map of length 1; the root of the other.

    Returns:
      [B, T, H, W], at least float32. A frame of zeros has a constant map.
    """
    energy = jnp.square(features.astype(jnp.promote_types(features.dtype, jnp.float32))).sum(-1)
    share = _shares(energy, axes=(2, 3))
    match kind:
        case 'energy':
            return share
        case 'l2':
            fires = share > 0
            return jnp.where(fires, jnp.sqrt(jnp.where(fires, share, 1)), 0)  # the root has no slope at 0
    raise config.unknown('sta.attn_map', kind)


def stripe_scores(attention: jax.Array, *, stripes: int) -> jax.Array:
    """S: each frame's share in the attention that a stripe gets over the clip (eqs. 2-4).

    Args:
      attention: [B, T, H, W], from `attention_map`.
      stripes: K, a divisor of H.

    Returns:
      [B, T, K]; sums to 1 over frames, uniform where a stripe gets none.

    Raises:
      ValueError: if the rows do not split into K stripes.
    """
    return _shares(jnp.abs(_split(attention[..., None], stripes)).sum((3, 4, 5)), axes=(1,))


def strongest(features: jax.Array, scores: jax.Array) -> jax.Array:
    """F1: every stripe from the frame with the highest score, on ties the first.

    Gradients reach the chosen features, not the choice.

    Args:
      features: [B, T, H, W, D].
      scores: [B, T, K].

    Returns:
      [B, H, W, D], dtype of `features`.
    """
    parts = _split(features, scores.shape[2])
    chosen = jnp.argmax(scores, axis=1)  # [B, K]
    picked = jnp.take_along_axis(parts, chosen[:, None, :, None, None, None], axis=1)
    return picked.reshape(features.shape[0], *features.shape[2:])


def weighted(features: jax.Array, scores: jax.Array) -> jax.Array:
    """F2: the mean of the frames, every stripe weighted by its scores; arguments and result as `strongest`.

    Gradients reach features and scores. Summed in the scores' dtype.
    """
    parts = _split(features, scores.shape[2])
    total = (parts * scores[..., None, None, None]).sum(1)
    return total.reshape(features.shape[0], *features.shape[2:]).astype(features.dtype)


def _shares(values: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    """Non-negative values over their sum; equal shares where that is zero."""
    total = values.sum(axes, keepdims=True)
    something = total > TINY
    count = 1
    for axis in axes:
        count *= values.shape[axis]
    return jnp.where(something, values / jnp.where(something, total, 1), 1 / count)


def _split(x: jax.Array, stripes: int) -> jax.Array:
    """[B, T, H, W, C] -> [B, T, K, H / K, W, C]."""
    b, t, h, w, c = x.shape
    if h % stripes:
        raise ValueError(
            f'The {h} rows of the feature map do not split into sta.stripes = {stripes}; choose a divisor, or another '
            'data.height.'
        )
    return x.reshape(b, t, stripes, h // stripes, w, c)
