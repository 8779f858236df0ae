"""The quick step of STRF, compiled by a TPU's compiler; no TPU is needed: `pytest -m aot` with libtpu at hand."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from jaxreid import command_line, sharding
from jaxreid.data.stores import device_read
from jaxreid.plan import hlo, outcome, program, targets

pytestmark = [pytest.mark.slow, pytest.mark.aot]
MIB = 2**20


@pytest.fixture(scope='module')
def compiler(uncached):
    pytest.importorskip('libtpu', reason="libtpu, a TPU's compiler, is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in targets.ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv('XLA_FLAGS', raising=False)  # of the suite: no optimisation
        yield


@pytest.fixture(scope='module')
def step(compiler):
    return outcome.in_child(command_line.read_config('strf_mars'), targets.parse('v5e:4x4'), 'train', True, False)


def test_it_fits(step):
    assert step.fits
    assert step.memory.donated > 0.9 * step.memory.arguments


def test_its_temporary_memory_is_no_more_than_it_was(step):
    assert step.memory.temporaries <= 300 * MIB  # 291 on 2026-11-28


def test_every_sum_over_the_chips_is_in_float32_and_there_are_few(step):
    sums = [one for one in step.sends if one.op == 'all-reduce']
    assert {one.dtype for one in sums} <= {'f32', 's32'}  # the gradient too; s32 are labels or rows
    assert not any('16 bits' in said for said in step.warnings)
    assert sum(one.count for one in sums) <= 32  # of norms, one forward and one backward, and the gradient


def test_the_gradient_is_sent_once(step):
    sent = sum(one.bytes for one in step.sends if one.op == 'all-reduce')
    assert 36 * MIB < sent < 38 * MIB  # 9,566,897 parameters in float32 are 36.5


def test_with_norms_of_each_chip_a_step_sums_three_times(compiler):
    """Labels, the gradient through the gathered features, and all the rest; small maps change nothing."""
    small = ['--config.train.bn_groups=16', '--config.backbone.width=16', '--config.data.height=64']
    e = command_line.read_config('strf_mars', [*small, '--config.data.width=32', '--config.backbone.init=random'])
    step = outcome.in_child(e, targets.parse('v5e:4x4'), 'train', True, False)
    assert sum(one.count for one in step.sends if one.op == 'all-reduce') <= 3  # 4 with a sum of anchors


@pytest.mark.parametrize(('target', 'singly'), [('v5e:4x4', True), ('v6e:8x8', True), ('v5e:8x8', False)])
def test_frames_in_the_memory_of_chips_travel_once_and_are_not_copied(target, singly, compiler):
    """All training frames of MARS, two clips for each chip."""
    mesh = sharding.make_mesh(targets.devices(targets.parse(target)))
    assert sharding.sends_singly(mesh) is singly
    height, width, clips, frames = 256, 128, 2, 4
    part = -(-program.STORE_FRAMES // mesh.size)
    read = functools.partial(
        device_read.read, height=height, width=width, with_flow=False, axis_name=sharding.AXIS, singly=singly
    )
    mapped = jax.shard_map(read, mesh=mesh, in_specs=(sharding.SPLIT, sharding.COPIED), out_specs=sharding.SPLIT)
    shapes = (
        ((mesh.size * part, *sharding.row_shape(height * width * 3)), jnp.uint8, sharding.SPLIT),
        ((mesh.size * clips, frames), jnp.int32, sharding.COPIED),
    )
    compiled = (
        jax.jit(mapped)
        .lower(*(jax.ShapeDtypeStruct(shape, kind, sharding=NamedSharding(mesh, at)) for shape, kind, at in shapes))
        .compile()
    )
    received = clips * frames * height * width * 3
    sent = sum(one.bytes for one in hlo.Program(compiled.as_text()).collectives)
    temporary = compiled.memory_analysis().temp_size_in_bytes
    if singly:  # whatever the number of chips
        assert received <= sent <= 1.01 * received
        assert temporary <= 8 * received
    else:  # all that the batch is made of passes every chip
        assert sent <= 1.01 * mesh.size * received
        assert temporary <= 5 * mesh.size * received < part * height * width * 3
