"""Costs of a table: steps from published facts and from the renderer's plan, one training for rows that share it."""

import jax
import pytest

from configs import (
    ap3d_dukev,
    sinet_mars,
    sta_mars,
    star_ilids,
    star_mars,
    stmn_mars,
    stmn_synthetic,
    strf_mars,
    strf_synthetic,
)
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.reproduce import costs as dry_run


@pytest.mark.parametrize(
    ('experiment', 'steps'),
    [
        (strf_mars.get_config(), 235),  # AP3D's 8 x 4 on MARS
        (sinet_mars.get_config(), 235),
        (stmn_mars.get_config(), 78),
        (sta_mars.get_config(), 39),
        (star_mars.get_config(), 470),
        (star_ilids.get_config(), 37),
        (stmn_mars.get_config('grid_alpha_0.3'), 62),
        (ap3d_dukev.get_config(), None),  # pieces of long tracklets: only the data can tell
        (stmn_synthetic.get_config('demo'), 20),
    ],
)
def test_steps_of_an_epoch_are_those_of_the_papers(experiment, steps):
    assert dry_run.steps_per_epoch(experiment) == steps


def test_steps_are_unknown_where_nobody_has_counted_a_data_set_s_groups():
    experiment = strf_mars.get_config()
    experiment.sampler.tracklets_per_id = 3
    assert dry_run.steps_per_epoch(experiment) is None
    assert dry_run.planned_steps(experiment) is None
    experiment.train.max_steps = 7
    assert dry_run.planned_steps(experiment) == 7


def test_steps_on_the_rendered_benchmark_count_its_groups_of_tracklets():
    experiment = strf_synthetic.get_config('tiny')
    tracklets = synthetic_plan.make_plan(synthetic_plan.PRESETS['tiny']).tracklets['train']
    ids = [t.identity for t in tracklets]
    groups = sum(max(ids.count(i) // 4, 1) for i in set(ids))
    assert dry_run.steps_per_epoch(experiment) == groups // 8
    assert dry_run.planned_steps(experiment) == 2 * (groups // 8)
    experiment.train.max_steps = 1
    assert dry_run.planned_steps(experiment) == 1


def test_what_no_cpu_should_do_is_said(monkeypatch):
    assert [dry_run.estimate(s) for s in (7200, 11227 * 3600)] == ['2.0 h', 'not for a CPU']
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    assert dry_run.estimate(11227 * 3600) == '11227.0 h'


def test_durations_are_readable():
    assert [dry_run.duration(s) for s in (12, 89, 90, 600, 5399, 5400, 7200)] == [
        '12 s', '89 s', '2 min', '10 min', '90 min', '1.5 h', '2.0 h',
    ]  # fmt: skip
