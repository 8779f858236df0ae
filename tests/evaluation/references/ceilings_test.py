import dataclasses

import numpy as np
import pytest

from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render as synthetic
from jaxreid.evaluation.references import ceilings


@pytest.fixture(scope='module')
def motion():
    return synthetic_plan.make_plan(dataclasses.replace(synthetic.PRESETS['motion'], train_ids=6, test_ids=18))


def test_single_frames_do_not_tell_the_motion_look_alikes_apart_and_frames_in_order_do(motion):
    alone, ordered = ceilings.skeletons(motion, frames=4).values()
    assert alone.chance == ordered.chance == pytest.approx(100 / 3)
    assert alone.queries == ordered.queries > 40
    assert abs(alone.accuracy - alone.chance) <= 15  # of 60 queries: twice the standard error
    assert ordered.accuracy >= 90


def test_frames_that_show_the_person_are_left_and_one_at_least():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['occlusion'])
    for walk in plan.tracklets['test'][:80]:
        shown = ceilings.shown_frames(plan, walk)
        assert len(shown)
        hidden = synthetic_plan.layout(plan, walk).hidden.mean(1)
        if walk.occluder == 'none':
            assert len(shown) == walk.frames
        elif walk.occluder != 'board':
            np.testing.assert_array_equal(shown, np.flatnonzero(hidden < 0.5))
    buried = dataclasses.replace(plan.tracklets['test'][0], occluder='van', occluder_stay=100.0, occluder_time=0.0)
    assert len(ceilings.shown_frames(plan, buried)) >= 1


def test_walks_are_redrawn_without_what_the_oracle_takes_away():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['distractors'])
    store = ceilings.Redrawn(plan, ceilings.redrawn(plan, 'no dummies'))
    row = next(i for i, walk in enumerate(plan.tracklets['test']) if walk.clutter >= 0)
    walk = plan.tracklets['test'][row]
    drawn = list(synthetic.Renderer(plan).frames(dataclasses.replace(walk, clutter=-1)))
    np.testing.assert_array_equal(store.read(row, np.array([3, 0])), np.stack([drawn[3], drawn[0]]))
    junk = next(i for i, walk in enumerate(plan.tracklets['test']) if walk.identity == synthetic_plan.JUNK)
    assert ceilings.redrawn(plan, 'right boxes')[junk] == plan.tracklets['test'][junk]
    with pytest.raises(ValueError, match="no oracle 'sunshine'"):
        ceilings.redrawn(plan, 'sunshine')


def test_a_shuffled_store_gives_the_same_frames_in_another_order():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['tiny'])
    store = ceilings.Redrawn(plan, plan.tracklets['test'])
    row = int(np.argmax([walk.frames for walk in plan.tracklets['test']]))
    frames = np.arange(6)
    straight, mixed = store.read(row, frames), ceilings.Shuffled(store).read(row, frames)
    assert not np.array_equal(straight, mixed)
    assert sorted(f.tobytes() for f in straight) == sorted(f.tobytes() for f in mixed)
