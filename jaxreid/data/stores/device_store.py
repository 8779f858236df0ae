"""Decoded training frames in the memory of the devices, each device holding an equal part.

The host only draws which frames a step shall see; `device_read` brings them to the devices. The store itself never
leaves its place.
"""

import math
from collections.abc import Sequence

import jax

from jaxreid import sharding
from jaxreid.data.stores import frame_store, packed_frames
from jaxreid.data.tracklets import tracklet
from jaxreid.process import host_memory


class DeviceStore:
    """All frames of the tracklets as one uint8 array, split over a mesh."""

    frames: jax.Array  # [rows, L, 128] uint8, see packed_frames; zeros fill rows and the last device's part

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
                -(-packing.num_rows // mesh.size) * math.prod(sharding.row_shape(packing.row_bytes)),
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
