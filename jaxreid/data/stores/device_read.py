"""Clips out of frames that lie in the memory of the devices, inside the jitted step: every device picks, of all frames
of the global batch, those that it holds, and one `psum_scatter` brings each clip to the device that trains on it.
"""

import jax
import jax.numpy as jnp


def read(
    frames: jax.Array, rows: jax.Array, *, height: int, width: int, with_flow: bool, axis_name: str
) -> dict[str, jax.Array]:
    """The clips of this device's part of a batch; to be called by all devices of the mesh together.

    Args:
      frames: [R, row_bytes] uint8, this device's part of `device_store.DeviceStore.frames`.
      rows: [B, T] int32, what the global batch is made of, the same on all devices.
      height, width: of a frame, in pixels.
      with_flow: whether rows hold flow.
      axis_name: of the mesh.

    Returns:
      `clips` [b, T, H, W, 3] uint8 and, with flow, `flow` [b, T, H, W, 2] float16, of the B / devices clips that are
      this device's; bit by bit what the other stores give.
    """
    b, t = rows.shape
    held = rows.reshape(-1) - jax.lax.axis_index(axis_name) * len(frames)
    mine = (held >= 0) & (held < len(frames))
    picked = jnp.where(mine[:, None], frames.at[held].get(mode='clip'), jnp.uint8(0))
    # All bytes of a frame come from one device, the others add zeros: exact in 8 bits.
    packed = jax.lax.psum_scatter(picked.reshape(b, t, -1), axis_name, tiled=True)  # [b, T, row_bytes]
    pixels, motion = jnp.split(packed, [height * width * 3], axis=-1)
    clips = {'clips': pixels.reshape(-1, t, height, width, 3)}
    if with_flow:
        clips['flow'] = jax.lax.bitcast_convert_type(motion.reshape(-1, t, height, width, 2, 2), jnp.float16)
    return clips
