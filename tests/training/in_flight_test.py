"""Metrics on their way to the host: what is fetched when, and which step is blamed."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.training import in_flight


class Kept:
    """Stands for checkpoints of which the newest is of a step."""

    def __init__(self, step):
        self.step, self.waited = step, False

    def wait(self):
        self.waited = True

    def latest(self):
        assert self.waited
        return self.step


def test_the_newest_dispatches_are_left_on_the_device():
    flight = in_flight.InFlight(Kept(None), jnp.float32)
    for at in range(1, 7, 2):
        flight.add(range(at, at + 2), {'loss': np.float32([at, at + 1])})
    assert flight.fetch(leave=3) == {}
    assert flight.fetch(leave=1) == {'loss': 4.0}
    assert flight.fetch(leave=1) == {}
    assert flight.fetch(leave=0) == {'loss': 6.0}


@pytest.mark.parametrize(
    ('step', 'message'), [(4, 'the last good checkpoint is step 4'), (None, 'no checkpoint is written yet')]
)
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32])
def test_a_loss_that_is_no_number_stops_the_run_when_it_is_fetched(step, message, dtype):
    flight = in_flight.InFlight(Kept(step), dtype)
    flight.add(range(5, 7), {'loss': np.float32([1, np.nan])})
    flight.add(range(7, 9), {'loss': np.float32([1, 1])})
    assert flight.fetch(leave=2) == {}
    with pytest.raises(in_flight.NonFiniteLoss, match=rf'step 6: loss is nan; {message}\. Try a lower') as error:
        flight.fetch(leave=1)
    assert ('float32' in str(error.value)) == (dtype == jnp.bfloat16)  # no advice to do what is done


def test_the_first_step_of_a_dispatch_that_is_not_finite_is_named_with_its_terms():
    metrics = {'loss': np.float32([1, 2, np.nan, np.nan]), 'gradient_norm': np.float32([1, np.inf, np.nan, 1])}
    assert in_flight.not_finite(range(11, 15), metrics) == 'step 12: gradient_norm is inf'
    assert in_flight.not_finite(range(13, 14), {k: v[2:3] for k, v in metrics.items()}) == (
        'step 13: loss is nan, gradient_norm is nan'
    )
    assert in_flight.not_finite(range(11, 12), {k: v[:1] for k, v in metrics.items()}) == ''
