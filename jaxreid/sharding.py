"""The one file that knows the devices: a mesh with a single axis over which batches are split and state is copied."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = 'data'
SPLIT = PartitionSpec(AXIS)
SPLIT_STEPS = PartitionSpec(None, AXIS)  # of batches of several steps, one behind the other
COPIED = PartitionSpec()
_PIECE_BYTES = 2**22  # of host arrays that are added up over processes
LANES = 128  # bytes of the last axis of rows on the devices: whole tiles of a TPU, in which no two rows share one


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh over the given devices, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    # jax.make_mesh defaults to Explicit axes, which refuse arrays without a placement.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)


def local_slots(count: int, mesh: Mesh) -> np.ndarray:
    """Which of `count` rows of a batch the devices of this process hold: [rows] int64, ascending.

    Not always a contiguous slice: on TPU slices the mesh follows the links, and a process comes up at several places.
    Raises ValueError where the rows do not split evenly over the devices.
    """
    check_divides(count, mesh)
    here = [device in set(mesh.local_devices) for device in mesh.devices.flat]
    return np.flatnonzero(np.repeat(here, count // mesh.size))


def shard_batch(batch, mesh: Mesh):
    """Puts the rows that this process holds of a global batch (`local_slots`), a tree of [rows, ...] host arrays, on
    its devices: the same tree of global [B, ...] arrays, split over the mesh by their first axis.
    """
    sharding = NamedSharding(mesh, SPLIT)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def shard_steps(batches: Sequence, mesh: Mesh):
    """`shard_batch` of several steps' batches: [rows, ...] each -> [S, B, ...], the second axis split."""
    sharding = NamedSharding(mesh, SPLIT_STEPS)

    def put(*steps):
        together = np.stack(steps) if len(steps) > 1 else steps[0][None]  # decoded clips are not copied for nothing
        return jax.make_array_from_process_local_data(sharding, together)

    return jax.tree.map(put, *batches)


def local_rows(num_rows: int, mesh: Mesh) -> dict[jax.Device, range]:
    """The rows that each device of this process holds of an array cut into equal parts, the last one shorter."""
    part = -(-num_rows // mesh.size)
    parts = {
        device: range(min(i * part, num_rows), min((i + 1) * part, num_rows))
        for i, device in enumerate(mesh.devices.flat)
    }
    return {device: parts[device] for device in mesh.local_devices}


def place_rows(
    num_rows: int, columns: int, mesh: Mesh, *, piece_rows: int, fill: Callable[[int, np.ndarray], None]
) -> jax.Array:
    """A uint8 array [num_rows, L, LANES] of rows of `columns` bytes, split over the mesh, that never lies in the host's
    memory as a whole; rows are rounded up to whole lanes, and their number to a multiple of the devices, by zeros.

    `fill(start, out)` writes rows `start` and following into `out`, [piece, columns]; at most two pieces of
    `piece_rows` are in the memory of this host.
    """
    lanes = row_shape(columns)
    part = -(-num_rows // mesh.size)
    put = jax.jit(lambda whole, piece, at: jax.lax.dynamic_update_slice_in_dim(whole, piece, at, 0), donate_argnums=0)
    placed = []
    for device, rows in local_rows(num_rows, mesh).items():
        whole = jnp.zeros((part, *lanes), jnp.uint8, device=device)
        for start in range(rows.start, rows.stop, piece_rows):
            piece = np.zeros((min(piece_rows, rows.stop - start), *lanes), np.uint8)
            fill(start, piece.reshape(len(piece), -1)[:, :columns])
            whole.block_until_ready()  # the piece before has arrived
            whole = put(whole, jax.device_put(piece, device), start - rows.start)
        placed.append(whole)
    return jax.make_array_from_single_device_arrays((mesh.size * part, *lanes), NamedSharding(mesh, SPLIT), placed)


def row_shape(columns: int) -> tuple[int, int]:
    """In which rows of so many bytes lie on the devices."""
    return -(-columns // LANES), LANES


def sends_singly(mesh: Mesh) -> bool:
    """Whether the devices can send single rows to one another (ragged_all_to_all).

    CPUs cannot, nor v5e slices of more than 16 chips: their links form no torus, and the compiler refuses.
    """
    device = mesh.devices.flat[0]
    return mesh.size > 1 and device.platform != 'cpu' and (device.device_kind != 'TPU v5 lite' or mesh.size <= 16)


def copy_to_all(tree, mesh: Mesh):
    """Puts the same values of every process on every device of the mesh."""
    sharding = NamedSharding(mesh, COPIED)

    def put(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def all_rows(tree, axis_name: str | None, *, axis: int = 0):
    """Arrays of this device's rows -> the rows of all devices, in order; None: they are all there already."""
    return tree if axis_name is None else jax.lax.all_gather(tree, axis_name, axis=axis, tiled=True)


def row_numbers(count: int, axis_name: str | None) -> jax.Array:
    """[count] int, where this device's rows are in what `all_rows` gives."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    return first + jnp.arange(count)


def varying(tree, axis_name: str | None):
    """Values that are the same on all devices, as every device's own.

    Their gradient is summed over the devices here, in the dtype that they have here: what casts parameters to bfloat16
    belongs behind it, or sums of many devices are made in bfloat16.
    """
    return tree if axis_name is None else jax.lax.pcast(tree, axis_name, to='varying')


def add_up(tree, axis_name: str | None):
    """Sums over the devices, the same on all of them."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def add_up_processes(own: np.ndarray, mesh: Mesh) -> None:
    """Sums, in place, host arrays [N, ...] of which every process has one: afterwards all have the sum.

    Memory beside the array does not grow with it nor with the number of processes: it goes over the devices in pieces,
    and each device adds what it gets to what it has.
    """
    add = jax.jit(
        jax.shard_map(lambda piece: jax.lax.psum(piece[0], AXIS), mesh=mesh, in_specs=SPLIT, out_specs=COPIED)
    )
    rows = max(1, _PIECE_BYTES // max(own[:1].nbytes, 1))
    for start in range(0, len(own), rows):
        piece = own[start : start + rows][None]
        first, *others = mesh.local_devices  # one speaks for the process
        none = [jax.device_put(np.zeros_like(piece), device) for device in others]
        whole = jax.make_array_from_single_device_arrays(
            (mesh.size, *piece.shape[1:]), NamedSharding(mesh, SPLIT), [jax.device_put(piece, first), *none]
        )
        own[start : start + rows] = add(whole).addressable_data(0)


def sum_of_rows(local: jax.Array, axis_name: str, *, rows: int, first: int | jax.Array) -> jax.Array:
    """[R, ...] of every device -> [rows, ...], where each adds its own from row `first` on; the same on all devices."""
    # A sum of mostly zeros, not an all_gather: shard_map knows that its result is the same everywhere.
    everyone = jnp.zeros((rows, *local.shape[1:]), local.dtype)
    return jax.lax.psum(jax.lax.dynamic_update_slice_in_dim(everyone, local, first, 0), axis_name)


def check_divides(clips: int, mesh: Mesh) -> None:
    """Raises ValueError where a batch does not split evenly over the devices."""
    if clips % mesh.size:
        raise ValueError(
            f'{clips} clips do not split over {mesh.size} devices; make sampler.num_ids * sampler.tracklets_per_id '
            f'(or test.batch_clips) a multiple of {mesh.size}.'
        )
