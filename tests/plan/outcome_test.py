"""A step compiled for eight devices of this CPU, read as those of a target are."""

import dataclasses
import json
import re
import types

import jax
import numpy as np
import pytest

from configs import star_synthetic, stmn_synthetic, strf_synthetic
from jaxreid import config, sharding, summary
from jaxreid.models import cost
from jaxreid.plan import hlo, largest, outcome, program, targets

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
    assert 'both compiled' in again.largest
    assert clips > 10 * trained.clips
    assert clips % 8 == 0
    tight = dataclasses.replace(NODE.chip, memory=trained.memory.needed * 0.8 / 0.75)
    fewer = compiled(small(), second=True, target=dataclasses.replace(NODE, chip=tight))
    assert not fewer.fits
    assert 0 < int(fewer.largest.split()[0]) < trained.clips
    none = dataclasses.replace(NODE, chip=dataclasses.replace(NODE.chip, memory=1000))
    known = largest.Batch(fewer.clips, fewer.memory.needed, False)
    found = outcome._largest(small(), none, 'train', sharding.make_mesh(jax.devices()[:8]), known, 1.0)
    assert found.startswith('none was found that fits; the smallest that was compiled, of 8 clips')


def test_what_the_compiler_refuses_for_its_memory_is_looked_for_further(monkeypatch):
    """A TPU's compiler says what it would have needed and ends there."""

    def refuse_large(e, target, mode, mesh, *, quick):
        clips = program.clips_of(e, mode)
        if clips > 16:
            raise largest.DoesNotFit(f'does not fit: {clips} clips', clips * 2**30)
        return dataclasses.replace(of_16, memory=dataclasses.replace(of_16.memory, arguments=clips * 2**30))

    of_16 = compiled(small(**{'sampler.num_ids': 4}))
    monkeypatch.setattr(outcome, 'once', refuse_large)
    with pytest.raises(ValueError, match=r'does not fit: 32 clips; 16 clips fit: 16\.\d\d GiB; 24 do not: 24\.00 GiB'):
        compiled(small(), second=True)
    with pytest.raises(largest.DoesNotFit, match=r'32 clips$'):
        compiled(small())


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ({'train.bn_groups': 3, 'sampler.num_ids': 24}, '3 BatchNorm groups do not fit 8 devices'),
        ({'train.bn_groups': 16, 'sampler.num_ids': 2}, 'do not split into 16 equal BatchNorm groups'),
        ({'sampler.num_ids': 5}, '20 clips do not split over 8 devices'),
    ],
)
def test_what_does_not_divide_is_one_line(settings, said):
    with pytest.raises(ValueError, match=said) as raised:
        compiled(small(**settings))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('made', [strf_synthetic, stmn_synthetic, star_synthetic], ids=lambda made: made.__name__)
def test_an_evaluation_step_sends_nothing(made):
    e = made.get_config('tiny')
    config.apply(e, {'backbone.width': 8, 'test.batch_clips': 16})
    found = compiled(program.quick(e), 'eval')
    assert (found.sends, found.mode, found.clips) == ([], 'eval', 16)
    assert found.memory.donated == 0
    assert found.steps is None


def warnings(text, e, mode='train'):
    return list(outcome._warnings(e, hlo.Program(text), mode))


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


def test_hosts_out_of_order_are_a_note_and_no_warning():
    def notes(*hosts):
        devices = np.array([types.SimpleNamespace(process_index=host) for host in hosts])
        return list(outcome._notes(types.SimpleNamespace(devices=devices)))

    assert notes(0, 0, 1, 1) == []
    (note,) = notes(0, 1, 1, 0)
    assert '[0, 1, 1, 0]' in note
