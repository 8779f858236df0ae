"""Inter-frame regularisation: the attention of two frames of a clip should agree (STA, AAAI 2019, eqs. 5-7)."""

import jax
import jax.numpy as jnp

ADDED = 1e-12  # below the root, which has no slope at 0; `distances` takes the larger of the two instead


def frame_consistency(maps: jax.Array, key: jax.Array, index: jax.Array, *, squared: bool) -> jax.Array:
    """Distance between the attention maps of two different frames, drawn at random for each clip.

    Args:
      maps: [B, T, H, W] float, the attention of every frame.
      key: of this step and for this draw, the same on all devices.
      index: [B] int, the clips' positions in the global batch: a clip draws alike on 1 and N devices.
      squared: the square, as the text says; otherwise its root, as eq. 7 does: sqrt(sum of squares + 1e-12).

    Returns:
      [B], at least float32, per clip; the caller reduces. 0 for clips of one frame.
    """
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    b, t = maps.shape[:2]
    if t == 1:
        return jnp.zeros((b,), maps.dtype)
    first, second = frame_pairs(key, index, frames=t)

    def pick(frame):
        return jnp.take_along_axis(maps, frame[:, None, None, None], axis=1)[:, 0]

    squares = jnp.square(pick(first) - pick(second)).sum((1, 2))
    return squares if squared else jnp.sqrt(squares + ADDED)


def frame_pairs(key: jax.Array, index: jax.Array, *, frames: int) -> tuple[jax.Array, jax.Array]:
    """Two different frames, [B] int32 each, per clip of at least two; every ordered pair is equally likely."""

    def one_clip(position):
        # int32 by name: the draws must not change with 64-bit mode.
        low, high = jnp.zeros(2, jnp.int32), jnp.array([frames, frames - 1], jnp.int32)
        first, step = jax.random.randint(jax.random.fold_in(key, position), (2,), low, high, jnp.int32)
        return first, (first + 1 + step) % frames

    return jax.vmap(one_clip)(index)
