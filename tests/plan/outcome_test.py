"""A step compiled for eight devices of this CPU, read as those of a target are."""

import dataclasses
import json
import re

import jax
import pytest

from configs import star_synthetic, stmn_synthetic, strf_synthetic
from jaxreid import config, sharding, summary
from jaxreid.models import cost
from jaxreid.plan import hlo, outcome, program, targets

pytestmark = [pytest.mark.slow, pytest.mark.skipif(len(jax.devices()) < 8, reason='compiles for eight devices')]
NODE = targets.parse('h200:8')


def small(**changes):
    e = strf_synthetic.get_config('tiny')
    config.apply(e, {'backbone.width': 8, 'train.compute_dtype': 'float32', 'test.batch_clips': 16, **changes})
    return e


def compiled(e, mode='train', *, second=False, devices=8, target=NODE, quick=False):
    return outcome.of(e, target, mode, quick=quick, second=second, devices=jax.devices()[:devices])


@pytest.fixture(scope='module')
def trained():
    return compiled(small())


def test_the_memory_is_that_of_state_and_batch(trained):
    e = small()
    _, (state, batch, _) = program.step_on(e, sharding.make_mesh(jax.devices()[:8]), 'train')
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    sent = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(batch))
    assert trained.memory.arguments == pytest.approx(held + sent / 8, rel=0.01)
    assert trained.memory.donated == pytest.approx(held, rel=0.01)
    assert trained.fits


def test_forward_and_backward_are_about_three_times_the_products_of_the_network(trained):
    e = small()
    model_flops = 2e9 * 3 * gmacs(e) * trained.frames / trained.devices
    assert trained.flops == pytest.approx(model_flops, rel=0.06)  # the first layer has no gradient of its input


def gmacs(e):
    return summary.compute(e)['gmacs_per_frame']


def test_the_gradient_of_a_stride_counts_no_zeros():
    def loss(x, kernel, stride):
        dims = ('NHWC', 'HWIO', 'NHWC')
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), 'SAME', dimension_numbers=dims).sum()

    x, kernel = jax.ShapeDtypeStruct((1, 8, 8, 4), 'float32'), jax.ShapeDtypeStruct((1, 1, 4, 6), 'float32')
    for stride in (1, 2):
        jaxpr = jax.make_jaxpr(jax.grad(lambda x, k, s=stride: loss(x, k, s)))(x, kernel).jaxpr
        assert cost.macs(jaxpr) == (8 // stride) ** 2 * 4 * 6


def test_the_collectives_hold_the_gradient_in_float32(trained):
    e = small()
    _, (state, _, _) = program.step_on(e, sharding.make_mesh(jax.devices()[:8]), 'train')
    gradient = sum(x.size * 4 for x in jax.tree.leaves(state.params))
    summed = sum(one.bytes for one in trained.sends if one.op == 'all-reduce')
    assert gradient <= summed < 1.5 * gradient
    assert {one.dtype for one in trained.sends if one.op == 'all-reduce'} == {'f32'}
    assert all(0 <= one.first <= one.last <= 1 for one in trained.sends)


def test_the_bound_follows_from_its_parts(trained):
    assert trained.memory_s == sum(trained.bytes.values()) / 4800e9
    assert trained.bound_s == max(trained.arithmetic_s, trained.memory_s, trained.beside_s) + trained.links_s
    assert trained.highest_mfu == trained.arithmetic_s / trained.bound_s < 1
    assert trained.links_s > 100 * 2 * 3 * 4e-6 / 4  # more than a hundred norms' hops cannot hide in a quarter
    assert json.loads(json.dumps(outcome.as_json(trained)))['fits'] is True


def test_one_device_sends_nothing():
    one = compiled(small(), devices=1, target=targets.parse('h200:1'))
    assert (one.links_s, one.beside_s) == (0, 0)


def test_the_largest_batch_is_compiled(trained):
    room = dataclasses.replace(NODE.chip, memory=(trained.memory.needed + 20 * trained.memory.temporaries) / 0.75)
    again = compiled(small(), second=True, target=dataclasses.replace(NODE, chip=room))
    clips = int(again.largest.split()[0])
    assert 'compiled' in again.largest
    assert clips > 10 * trained.clips
    assert clips % 8 == 0
    tight = dataclasses.replace(NODE.chip, memory=trained.memory.needed * 0.8 / 0.75)
    fewer = compiled(small(), second=True, target=dataclasses.replace(NODE, chip=tight))
    assert not fewer.fits
    assert 0 < int(fewer.largest.split()[0]) < trained.clips
    none = dataclasses.replace(NODE, chip=dataclasses.replace(NODE.chip, memory=1000))
    assert outcome._largest(small(), none, 'train', sharding.make_mesh(jax.devices()[:8]), fewer).startswith(
        'none fits'
    )


@pytest.mark.parametrize('made', [strf_synthetic, stmn_synthetic, star_synthetic], ids=lambda made: made.__name__)
def test_an_evaluation_step_sends_nothing(made):
    e = made.get_config('tiny')
    config.apply(e, {'backbone.width': 8, 'test.batch_clips': 16})
    found = compiled(program.quick(e), 'eval')
    assert (found.sends, found.mode, found.clips) == ([], 'eval', 16)
    assert found.memory.donated == 0
    assert found.steps is None


def warnings(text, e, devices=8, mode='train'):
    return list(outcome._warnings(e, hlo.Program(text), sharding.make_mesh(jax.devices()[:devices]), mode))


LINE = '  %x = {0} {1}(%p), metadata={{op_name="jit(f)/{2}"}}\n'
TEXT = """HloModule m, is_scheduled=true

ENTRY %main (p: u8[4096,8192]) -> u8[] {{
  %p = u8[4096,8192]{{1,0}} parameter(0)
{0}}}
"""


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        (('u8[4096,8192]{0,1}', 'copy', 'gather'), r'a copy of an argument is made: u8\[4096, 8192\] of 32 MiB'),
        (('bf16[1048576]{0}', 'all-reduce', 'psum'), '2.0 MiB are summed over the devices in 16 bits'),
        (('f32[64,256,512]{2,1,0}', 'negate', 'unit'), r'1 activations are in float32.*f32\[64, 256, 512\] of 32 MiB'),
    ],
)
def test_what_costs_too_much_is_said(line, said):
    e = small(**{'train.compute_dtype': 'bfloat16'})
    (warning,) = warnings(TEXT.format(LINE.format(*line)), e)
    assert re.search(said, warning)
    assert warnings(TEXT.format(LINE.format('u8[8]{0}', 'copy', 'small')), e) == []
