"""Rows on devices: which device has which, and what they are together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import sharding
from tests.fixtures import meshes


@pytest.fixture
def mesh():
    return sharding.make_mesh(jax.devices()[:4])


def test_a_batch_splits_over_devices_that_divide_it(mesh):
    for clips in (0, 4, 12):
        sharding.check_divides(clips, mesh)
    for clips in (3, 6, 13):
        with pytest.raises(ValueError, match=rf'{clips} clips do not split over 4 devices; .* a multiple of 4'):
            sharding.check_divides(clips, mesh)


def test_a_process_holds_the_slots_of_its_places_on_the_mesh():
    owners = [0, 0, 1, 1, 1, 1, 0, 2, 3, 3, 3, 3, 2, 2, 2, 0]  # as jax orders the chips of a 4x4 slice
    assert sharding.local_slots(32, meshes.seen_by(0, owners)).tolist() == [0, 1, 2, 3, 12, 13, 30, 31]
    every = [sharding.local_slots(32, meshes.seen_by(process, owners)) for process in range(4)]
    assert sorted(np.concatenate(every)) == list(range(32))
    with pytest.raises(ValueError, match='24 clips do not split over 16 devices'):
        sharding.local_slots(24, meshes.seen_by(0, owners))


def test_rows_are_cut_into_equal_parts_and_the_last_are_shorter(mesh):
    for rows, expected in ((8, [2, 2, 2, 2]), (9, [3, 3, 3, 0]), (10, [3, 3, 3, 1]), (2, [1, 1, 0, 0])):
        parts = list(sharding.local_rows(rows, mesh).values())
        assert [len(part) for part in parts] == expected
        assert [row for part in parts for row in part] == list(range(rows))


def test_rows_that_are_placed_piece_by_piece_are_those_of_the_whole(mesh):
    columns = 130  # two lanes, the second nearly empty
    rows = np.random.default_rng(0).integers(0, 256, (10, columns), dtype=np.uint8)

    def fill(start, out):
        out[:] = rows[start : start + len(out)]

    for piece in (1, 2, 3, 7):
        placed = sharding.place_rows(10, columns, mesh, piece_rows=piece, fill=fill)
        assert (placed.shape, placed.dtype) == ((12, 2, 128), np.uint8)
        np.testing.assert_array_equal(np.reshape(placed, (12, 256)), np.pad(rows, ((0, 2), (0, 256 - columns))))
        assert {shard.data.shape for shard in placed.addressable_shards} == {(3, 2, 128)}


def test_batches_of_several_steps_lie_one_behind_the_other(mesh):
    steps = [{'x': np.arange(8, dtype=np.int32) + 10 * i} for i in range(3)]
    for some in (steps, steps[:1]):
        placed = sharding.shard_steps(some, mesh)['x']
        np.testing.assert_array_equal(placed, np.stack([one['x'] for one in some]))
        assert {shard.data.shape for shard in placed.addressable_shards} == {(len(some), 2)}


def test_inside_a_step_devices_see_the_rows_of_all_and_know_their_own(mesh):
    rows = jnp.arange(24.0).reshape(8, 3)

    def look(own):
        numbers = sharding.row_numbers(len(own), sharding.AXIS)
        spread = sharding.sum_of_rows(own, sharding.AXIS, rows=8, first=numbers[0])
        return sharding.all_rows(own, sharding.AXIS)[None], numbers, spread, sharding.add_up(own.sum(), sharding.AXIS)

    split, copied = sharding.SPLIT, sharding.COPIED
    mapped = jax.shard_map(look, mesh=mesh, in_specs=split, out_specs=(split, split, copied, copied))
    everyone, numbers, spread, total = jax.jit(mapped)(rows)
    np.testing.assert_array_equal(everyone, np.stack([rows] * 4))
    np.testing.assert_array_equal(numbers, np.arange(8))
    np.testing.assert_array_equal(spread, rows)
    assert total == rows.sum()
    np.testing.assert_array_equal(sharding.row_numbers(3, None), np.arange(3))
