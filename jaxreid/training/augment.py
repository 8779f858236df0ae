"""Random changes of training clips and normalisation, on the device and inside the jitted step.

Every clip draws from its own key, made from the step's key and the clip's position in the global batch: 1 and N devices
augment alike. All numbers a clip may need are drawn at once, so that switching one change on leaves the others' draws.
"""

from typing import overload

import jax
import jax.numpy as jnp

from jaxreid import config

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training images, RGB, in units of full scale
STD = (0.229, 0.224, 0.225)
FLOW_LIMIT_PX = 20  # flow is clipped to this many pixels either way, and given to the network in units of it

# Rectangles tried per erasing. All are drawn, the first that fits is used: a loop that stops early has no fixed shape.
# At the default ranges a rectangle misses a 2:1 frame with probability 0.05.
_ATTEMPTS = 10
_RECTANGLE_DRAWS = 1 + 4 * _ATTEMPTS  # whether; area, aspect, row and column of each attempt


def normalise(clips: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Scales uint8 RGB [..., 3] to ImageNet's mean and deviation; computed in at least float32, returned as `dtype`."""
    compute = jnp.promote_types(dtype, jnp.float32)
    shape = (1,) * (clips.ndim - 1) + (3,)
    mean = jnp.asarray(MEAN, compute).reshape(shape)
    std = jnp.asarray(STD, compute).reshape(shape)
    return ((clips.astype(compute) / 255 - mean) / std).astype(dtype)


def normalise_flow(flow: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Clips flow [..., 2] in pixels to +-20 and scales it to +-1; computed in at least float32, returned as `dtype`."""
    compute = jnp.promote_types(dtype, jnp.float32)
    return (jnp.clip(flow.astype(compute), -FLOW_LIMIT_PX, FLOW_LIMIT_PX) / FLOW_LIMIT_PX).astype(dtype)


def mirror(clips: jax.Array) -> jax.Array:
    """Flips frames [..., H, W, C] from left to right."""
    return clips[..., ::-1, :]


def mirror_flow(flow: jax.Array) -> jax.Array:
    """Flow [..., H, W, 2] of the mirrored frames: the map is flipped and what went right goes left, u becomes -u."""
    return mirror(flow) * jnp.asarray((-1, 1), flow.dtype).reshape((1,) * (flow.ndim - 1) + (2,))


@overload
def augment(
    clips: jax.Array, key: jax.Array, index: jax.Array, cfg: config.Augment, dtype: jax.typing.DTypeLike
) -> jax.Array: ...


@overload
def augment(
    clips: jax.Array,
    key: jax.Array,
    index: jax.Array,
    cfg: config.Augment,
    dtype: jax.typing.DTypeLike,
    *,
    flow: jax.Array,
) -> tuple[jax.Array, jax.Array]: ...


def augment(clips, key, index, cfg, dtype, *, flow=None):
    """Flips, normalises, translates and erases clips at random, in this order; flow moves with its frames.

    Flip: one draw per clip; flow is mirrored and its u negated. Translation: the normalised clip is padded by
    `translate_px` zeros on each side (the mean colour, not black; no motion) and a crop of the original size is taken,
    one draw per clip. Random erasing (Zhong et al., AAAI 2020): one rectangle per frame, or per clip; its share of the
    area and its height/width are uniform in the configured ranges, it must be smaller than the frame both ways, and its
    pixels become 0, again the mean colour. Of 10 rectangles drawn the first that fits is used; where none does, nothing
    is erased. Flow is not erased: erasing stands for what hides a person's looks, and STAR's recipe has none.

    Args:
      clips: [B, T, H, W, 3] uint8, RGB.
      key: the step's key, the same on all devices.
      index: [B] integers, each clip's position in the global batch.
      cfg: what to do how often; static.
      dtype: of the result.
      flow: [B, T, H, W, 2] float16 in pixels, or None.

    Returns:
      [B, T, H, W, 3] of `dtype`, normalised; where there is flow a pair of it and the flow, [B, T, H, W, 2] of `dtype`,
      clipped and scaled by `normalise_flow`.
    """

    t, h, w = clips.shape[1:4]

    def one_clip(clip: jax.Array, position: jax.Array, flow: jax.Array | None):
        # float32 by name: the draws must not change with the compute dtype or with 64-bit mode.
        draws = jax.random.uniform(jax.random.fold_in(key, position), (3 + t * _RECTANGLE_DRAWS,), jnp.float32)
        flip = draws[0] < cfg.flip
        x = normalise(jnp.where(flip, mirror(clip), clip), dtype)  # [T, H, W, 3]
        if cfg.translate_px > 0:
            x = _translate(x, draws[1:3], pad_px=cfg.translate_px)
        if cfg.erase > 0:
            erased = _erased(draws[3:].reshape(t, _RECTANGLE_DRAWS), h, w, cfg)  # [T, H, W]
            x = jnp.where(erased[..., None], jnp.zeros_like(x), x)
        if flow is None:
            return x
        motion = normalise_flow(jnp.where(flip, mirror_flow(flow), flow), dtype)  # [T, H, W, 2]
        if cfg.translate_px > 0:
            motion = _translate(motion, draws[1:3], pad_px=cfg.translate_px)
        return x, motion

    return jax.vmap(one_clip)(clips, index, flow)


def _translate(x: jax.Array, draws: jax.Array, *, pad_px: int) -> jax.Array:
    """[T, H, W, C], moved by at most `pad_px` along each axis; draws [2] in [0, 1)."""
    padded = jnp.pad(x, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))
    top, left = jnp.floor(draws * (2 * pad_px + 1)).astype(jnp.int32)
    return jax.lax.dynamic_slice(padded, (jnp.zeros_like(top), top, left, jnp.zeros_like(top)), x.shape)


def _erased(draws: jax.Array, h: int, w: int, cfg: config.Augment) -> jax.Array:
    """[T, H, W] bool, the pixels to blank; draws [T, 1 + 4 * attempts] in [0, 1)."""
    match cfg.erase_scope:
        case 'frame':
            return jax.vmap(lambda frame: _rectangle(frame, h, w, cfg))(draws)
        case 'clip':
            return jnp.broadcast_to(_rectangle(draws[0], h, w, cfg)[None], (len(draws), h, w))
        case _:
            raise config.unknown('augment.erase_scope', cfg.erase_scope)


def _rectangle(draws: jax.Array, h: int, w: int, cfg: config.Augment) -> jax.Array:
    """[H, W] bool; all False with probability 1 - cfg.erase, or where no drawn rectangle fits."""
    area, aspect, down, right = draws[1:].reshape(4, _ATTEMPTS)
    area = (cfg.erase_area_min + area * (cfg.erase_area_max - cfg.erase_area_min)) * (h * w)
    aspect = cfg.erase_aspect_min + aspect * (1 / cfg.erase_aspect_min - cfg.erase_aspect_min)
    height = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    width = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (height < h) & (width < w)
    first = jnp.argmax(fits)
    height, width = height[first], width[first]
    top = jnp.floor(down[first] * (h - height + 1)).astype(jnp.int32)
    left = jnp.floor(right[first] * (w - width + 1)).astype(jnp.int32)
    rows, columns = jnp.arange(h, dtype=jnp.int32)[:, None], jnp.arange(w, dtype=jnp.int32)[None, :]
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return inside & fits[first] & (draws[0] < cfg.erase)
