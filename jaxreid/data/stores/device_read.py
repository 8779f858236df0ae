"""Clips out of frames that lie in the memory of the devices, inside the jitted step: every wanted frame travels once,
from the device that holds it to the one that trains on it, and the frames of the store stay where they are.
"""

import math

import jax
import jax.numpy as jnp

from jaxreid import sharding


def read(
    frames: jax.Array, rows: jax.Array, *, height: int, width: int, with_flow: bool, axis_name: str, singly: bool
) -> dict[str, jax.Array]:
    """The clips of this device's part of a batch; to be called by all devices of the mesh together.

    Args:
      frames: [R, L, 128] uint8, this device's part of `device_store.DeviceStore.frames`.
      rows: [B, T] int32, what the global batch is made of, the same on all devices.
      height, width: of a frame, in pixels.
      with_flow: whether rows hold flow.
      axis_name: of the mesh.
      singly: see `sharding.sends_singly`.

    Returns:
      `clips` [b, T, H, W, 3] uint8 and, with flow, `flow` [b, T, H, W, 2] float16, of the B / devices clips that are
      this device's; bit by bit what the other stores give.
    """
    devices, t = jax.lax.axis_size(axis_name), rows.shape[1]
    wanted = rows.reshape(devices, -1)  # [devices, bT], by whom
    holder, place = wanted // len(frames), wanted % len(frames)
    sent = holder == jax.lax.axis_index(axis_name)  # by this device
    if singly:  # from every device to every place of every other a slice: of one row, or of none
        came = holder[jax.lax.axis_index(axis_name)][None] == jnp.arange(devices)[:, None]  # to this device, from whom
        slots = jnp.arange(wanted.shape[1], dtype=jnp.int32)[None]
        slices = jnp.where(sent, place, 0), sent, jnp.where(sent, slots, 0), came
        empty = sharding.varying(jnp.zeros((slots.size, *frames.shape[1:]), jnp.uint8), axis_name)
        flat = [x.astype(jnp.int32).reshape(-1) for x in slices]
        packed = jax.lax.ragged_all_to_all(frames, empty, *flat, axis_name=axis_name)
    elif devices == 1:
        packed = frames[place]
    else:  # all bytes of a frame come from one device, the others add zeros
        picked = jnp.where(sent[..., None, None], frames[place], jnp.uint8(0))
        four = jax.lax.bitcast_convert_type(picked.reshape(*picked.shape[:-1], -1, 4), jnp.int32)
        packed = jax.lax.bitcast_convert_type(jax.lax.psum_scatter(four, axis_name), jnp.uint8)
    packed = packed.reshape(-1, t, math.prod(frames.shape[1:]))
    image = height * width * 3
    clips = {'clips': packed[..., :image].reshape(-1, t, height, width, 3)}
    if with_flow:
        motion = packed[..., image : image + height * width * 4].reshape(-1, t, height, width, 2, 2)
        clips['flow'] = jax.lax.bitcast_convert_type(motion, jnp.float16)
    return clips
