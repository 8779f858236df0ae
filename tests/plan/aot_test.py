"""The quick step of STRF, compiled by a TPU's compiler; no TPU is needed: `pytest -m aot` with libtpu at hand."""

import pytest

from jaxreid import command_line
from jaxreid.plan import outcome, targets

pytestmark = [pytest.mark.slow, pytest.mark.aot]
MIB = 2**20


@pytest.fixture(scope='module')
def step():
    pytest.importorskip('libtpu', reason="libtpu, a TPU's compiler, is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in targets.ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv('XLA_FLAGS', raising=False)  # of the suite: no optimisation
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
