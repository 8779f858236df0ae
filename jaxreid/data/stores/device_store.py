"""Decoded training frames in the memory of the devices, each device holding an equal part.

The host only draws which frames a step shall see. `read` runs inside the jitted step: every device picks, of all
frames of the global batch, those that it holds, and one `psum_scatter` brings each clip to the device that trains on
it. The store itself never leaves its place.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxreid import sharding
from jaxreid.data.stores import frame_store, packed_frames
from jaxreid.data.tracklets import tracklet
from jaxreid.process import host_memory


class DeviceStore:
    """All frames of the tracklets as one uint8 array, split over a mesh."""

    frames: jax.Array  # [rows, row_bytes] uint8, see packed_frames; zeros fill the last device's part

    def __init__(
        self,
        store: frame_store.Store,
        tracklets: Sequence[tracklet.Tracklet],
        mesh: jax.sharding.Mesh,
        *,
        with_flow: bool,
        threads: int,
        progress: bool,
    ):
        """Decodes what the devices of this host hold; each piece leaves the host's memory before the next but one.
        Arguments as of `ram_store.RamStore`, and the devices that share the frames.

        Raises:
          ValueError: there is not enough memory, or a frame is corrupt and the store's policy is 'error'.
        """
        height, width, _ = self.frame_shape = store.frame_shape
        self.packing = packing = packed_frames.Packing.of(tracklets, height, width, with_flow=with_flow)
        rows = sharding.local_rows(packing.num_rows, mesh)
        for device in rows:
            packed_frames.check_fits(
                -(-packing.num_rows // mesh.size) * packing.row_bytes,
                _available_bytes(device, len(rows)),
                where=f'memory on each of {mesh.size} devices, here {device}',
            )
        with packed_frames.Decoder(
            store, packing, num_rows=sum(map(len, rows.values())), threads=threads, progress=progress
        ) as decoder:
            self.frames = sharding.place_rows(
                packing.num_rows, packing.row_bytes, mesh, piece_rows=packing.chunk_rows, fill=decoder.decode
            )
        self.skipped = store.skipped  # frames on devices of this host that a neighbour replaced


def _available_bytes(device: jax.Device, sharing: int) -> int:
    """Free memory of a device; of the host's, an equal share, where devices say nothing: they use it."""
    stats = device.memory_stats()
    if stats and 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    return host_memory.available_bytes() // sharing


def read(
    frames: jax.Array, rows: jax.Array, *, height: int, width: int, with_flow: bool, axis_name: str
) -> dict[str, jax.Array]:
    """The clips of this device's part of a batch; to be called by all devices of the mesh together.

    Args:
      frames: [R, row_bytes] uint8, this device's part of `DeviceStore.frames`.
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
