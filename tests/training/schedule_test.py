"""Which steps go to the devices together, and what the host does after which."""

import pytest

from jaxreid import config
from jaxreid.training import schedule


@pytest.mark.parametrize(
    ('start', 'last', 'most', 'every'), [(0, 23, 1, 5), (0, 20, 4, 8), (3, 41, 4, 10), (7, 8, 4, 10), (5, 5, 2, 2)]
)
def test_dispatches_make_every_step_once_and_end_where_the_host_is_needed(start, last, most, every):
    def pauses(at):
        return at % every == 0 or at == last

    made = list(schedule.dispatches(start, last, most, pauses))
    assert [step for steps in made for step in steps] == list(range(start + 1, last + 1))
    assert {len(steps) for steps in made} <= {1, most}  # two programs
    for steps in made:
        assert not any(pauses(step) for step in steps[:-1])


def test_steps_are_dispatched_together_wherever_so_many_fit():
    made = list(schedule.dispatches(0, 12, 4, lambda at: at in (1, 5, 12)))
    assert [(steps[0], len(steps)) for steps in made] == [(1, 1), (2, 4), (6, 4), (10, 1), (11, 1), (12, 1)]


def test_a_run_is_logged_kept_and_monitored_by_its_settings_and_at_its_end():
    settings = config.Train(
        epochs=3, max_steps=17, eval_every_epochs=2, log_every_steps=5, checkpoint_every_steps=10, steps_per_dispatch=3
    )
    made = schedule.Schedule(settings, steps_per_epoch=6)
    assert made.last_step == 17
    assert [at for at in range(18) if made.logged(at)] == [0, 5, 10, 15, 17]
    assert [at for at in range(18) if made.monitored(at)] == [12]
    assert [at for at in range(1, 18) if made.kept(at)] == [10, 12, 17]
    assert [steps[-1] for steps in made.dispatches(4)] == [5, 8, 9, 10, 11, 12, 15, 16, 17]


def test_without_a_limit_of_steps_the_epochs_end_a_run_and_without_monitoring_none_is_monitored():
    made = schedule.Schedule(config.Train(epochs=3, max_steps=0, eval_every_epochs=0), steps_per_epoch=6)
    assert made.last_step == 18
    assert not any(made.monitored(at) for at in range(19))
