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
