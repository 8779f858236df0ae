import numpy as np
import pytest

from jaxreid.data.datasets import mars
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.synthetic import render
from jaxreid.evaluation import frame_weights


def test_hidden_frames_are_compared_with_the_others_of_their_clips():
    weights = np.array([[0.1, 0.4, 0.5], [0.6, 0.2, 0.2], [1.0, 0.0, 0.0]])
    hidden = np.array([[True, False, False], [False, True, False], [False, False, False]])  # the third holds no pair
    found = frame_weights.of(weights, hidden)
    assert (found['lowest'], found['highest']) == (0, 3)
    assert found['hidden'] == pytest.approx(3 * (0.1 + 0.2) / 2)
    assert found['others'] == pytest.approx(3 * (0.4 + 0.5 + 0.6 + 0.2) / 4)
    values, marks = np.ravel(weights[:2]), np.ravel(hidden[:2]).astype(float)
    centred = (values - values.mean()) @ (marks - marks.mean())
    expected = centred / np.sqrt(((values - values.mean()) ** 2).sum() * ((marks - marks.mean()) ** 2).sum())
    assert found['correlation'] == pytest.approx(expected)
    assert '0.00 to 3.00' in frame_weights.sentence(found)
    assert 'correlation' not in frame_weights.of(weights, None)
    assert 'correlation' not in frame_weights.of(np.full((2, 3), 1 / 3), hidden[:2])


def test_which_frames_are_hidden_is_read_from_the_plan(tmp_path):
    root = render.ensure(tmp_path / 'tiny', 'tiny', progress=False)
    dataset = mars.read(root)
    made = plan_lib.make_plan(render.PRESETS['tiny'])
    hidden = frame_weights.hidden_frames(dataset, clips='even', frames=4, seed=0)
    assert hidden.shape == (len(dataset.test), 4)
    for row, walk in enumerate(made.tracklets['test']):
        if walk.occluder == 'none':
            assert not hidden[row].any()
    assert hidden.any()
    assert frame_weights.hidden_frames(dataset, clips='all_frames', frames=4, seed=0) is None
    (root / 'info' / 'synthetic.json').unlink()
    assert frame_weights.hidden_frames(dataset, clips='even', frames=4, seed=0) is None
