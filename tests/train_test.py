"""Which steps go to the devices together, and which of them is blamed."""

import numpy as np
import pytest

from jaxreid import train


@pytest.mark.parametrize(
    ('start', 'last', 'most', 'every'), [(0, 23, 1, 5), (0, 20, 4, 8), (3, 41, 4, 10), (7, 8, 4, 10), (5, 5, 2, 2)]
)
def test_dispatches_make_every_step_once_and_end_where_the_host_is_needed(start, last, most, every):
    def pauses(at):
        return at % every == 0 or at == last

    made = list(train.dispatches(start, last, most, pauses))
    assert [step for steps in made for step in steps] == list(range(start + 1, last + 1))
    assert {len(steps) for steps in made} <= {1, most}  # two programs
    for steps in made:
        assert not any(pauses(step) for step in steps[:-1])


def test_steps_are_dispatched_together_wherever_so_many_fit():
    made = list(train.dispatches(0, 12, 4, lambda at: at in (1, 5, 12)))
    assert [(steps[0], len(steps)) for steps in made] == [(1, 1), (2, 4), (6, 4), (10, 1), (11, 1), (12, 1)]


def test_the_first_step_of_a_dispatch_that_is_not_finite_is_named_with_its_terms():
    metrics = {'loss': np.float32([1, 2, np.nan, np.nan]), 'gradient_norm': np.float32([1, np.inf, np.nan, 1])}
    assert train.not_finite(range(11, 15), metrics) == 'step 12: gradient_norm is inf'
    assert train.not_finite(range(13, 14), {k: v[2:3] for k, v in metrics.items()}) == (
        'step 13: loss is nan, gradient_norm is nan'
    )
    assert train.not_finite(range(11, 12), {k: v[:1] for k, v in metrics.items()}) == ''
