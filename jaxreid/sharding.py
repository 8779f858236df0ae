"""The one file that knows the devices: a mesh with a single axis over which batches are split and state is copied."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = 'data'
SPLIT = PartitionSpec(AXIS)
COPIED = PartitionSpec()


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh over the given devices, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    # jax.make_mesh defaults to Explicit axes, which refuse arrays without a placement.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)


def shard_batch(batch, mesh: Mesh):
    """Puts the rows that this process holds of a global batch on its devices.

    Args:
      batch: pytree of [B / processes, ...] host arrays, this process' contiguous slice of the batch.
      mesh: from `make_mesh`.

    Returns:
      The same tree of global [B, ...] arrays, split over the mesh by their first axis.
    """
    sharding = NamedSharding(mesh, SPLIT)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def copy_to_all(tree, mesh: Mesh):
    """Puts the same values of every process on every device of the mesh."""
    sharding = NamedSharding(mesh, COPIED)

    def put(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def check_divides(clips: int, mesh: Mesh) -> None:
    """Raises ValueError where a batch does not split evenly over the devices."""
    if clips % mesh.size:
        raise ValueError(
            f'{clips} clips do not split over {mesh.size} devices; make sampler.num_ids * sampler.tracklets_per_id '
            f'(or test.batch_clips) a multiple of {mesh.size}.'
        )
