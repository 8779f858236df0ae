"""Where training starts, on a network of one layer."""

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.training import checkpoint, resume, step


class OneLayer(nn.Module):
    @nn.compact
    def __call__(self, clips, *, train):
        self.variable('batch_stats', 'mean', lambda: np.zeros(3, np.float32))
        return nn.Dense(2)(clips.mean((1, 2, 3)))


def settings():
    return config.Experiment(data=config.Data(height=4, width=2), sampler=config.Sampler(frames=2))


def meta(experiment, **changes):
    return checkpoint.Meta(config=config.to_dict(experiment), labels={'3': 0, '5': 1}, steps_per_epoch=2, **changes)


@pytest.fixture
def run(tmp_path):
    """(what starts or resumes, given what is different, and the workdir); a checkpoint of step 4 is there."""
    model, adam, mesh = OneLayer(), optax.adam(0.1), sharding.make_mesh(jax.devices()[:2])
    newest = checkpoint.Checkpoints(tmp_path / 'run' / 'checkpoints', keep=2)

    def first():
        return step.init_variables(model, settings(), jax.random.key(7)), 'drawn'

    def start(*, experiment=None, now=None, last_step=9):
        experiment = experiment or settings()
        now = now or meta(experiment)
        return resume.start_or_resume(
            model, experiment, adam, newest, now, mesh, last_step=last_step, first_variables=first
        )

    begun = start()
    assert (begun.step, begun.came_from) == (0, 'drawn')
    newest.save(4, begun.state, meta(settings()))
    newest.wait()
    yield start, begun.state
    newest.close()


def test_the_newest_checkpoint_is_where_it_goes_on_and_the_last_step_where_it_ends(run):
    start, saved = run
    for last_step in (9, 4):
        again = start(last_step=last_step)
        assert (again.step, again.came_from) == (4, 'checkpoint of step 4')
        jax.tree.map(np.testing.assert_array_equal, again.state, saved)
        assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(again.state)} == {2}
    with pytest.raises(checkpoint.CheckpointError, match='run is trained to step 4 already, beyond the 3 steps asked'):
        start(last_step=3)


def test_another_length_is_said_with_what_it_means(run):
    start, saved = run
    longer = settings()
    longer.train.epochs *= 2
    again = start(experiment=longer)
    assert again.came_from.startswith('checkpoint of step 4. It goes on to 500 epochs, where it had 250: its learning')
    jax.tree.map(np.testing.assert_array_equal, again.state, saved)


def test_another_run_s_settings_or_people_are_refused(run):
    start, _ = run
    other = settings()
    other.optim.lr *= 2
    with pytest.raises(checkpoint.CheckpointError, match=r'holds a run with other settings:\n  config\.optim\.lr'):
        start(experiment=other)
    for labels in ({'3': 0, '6': 1}, {'3': 1, '5': 0}, {'3': 0}):
        with pytest.raises(checkpoint.CheckpointError, match='run was trained on 2 identities, and not on these'):
            start(now={**meta(settings()), 'labels': labels})


def test_people_with_names_are_the_same_whatever_their_numbers(tmp_path):
    saved = meta(settings(), pid_names={'3': 'ann', '5': 'bob'})
    resume.check_labels(saved, {**saved, 'labels': {'8': 0, '9': 1}, 'pid_names': {'8': 'ann', '9': 'bob'}}, tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match='was trained on 2 identities'):
        resume.check_labels(saved, {**saved, 'pid_names': {'3': 'bob', '5': 'ann'}}, tmp_path)
