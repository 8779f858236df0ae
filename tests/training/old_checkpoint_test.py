"""A checkpoint that an earlier version wrote is read by this one, with the same network and the same state.

tests/fixtures/checkpoint_2026_11_28.zip is `checkpoints/4` of `python -m jaxreid.main --config
configs/strf_synthetic.py:tiny` with backbone.width=2, strf.reduction=4, train.max_steps=4 and 2 x 2 clips a step, by
jax 0.10.2, flax 0.12.8, orbax-checkpoint 0.12.8 on one CPU device; the numbers beside it are that version's.
"""

import json
import pathlib
import zipfile

import jax
import numpy as np
import pytest

from jaxreid import config, sharding
from jaxreid.models import build
from jaxreid.training import checkpoint, optimizer, step

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
SAID = json.loads((FIXTURES / 'checkpoint_2026_11_28.json').read_text())


@pytest.fixture(scope='module')
def old(tmp_path_factory):
    """(model, meta, state) of the old checkpoint."""
    workdir = tmp_path_factory.mktemp('old')
    with zipfile.ZipFile(FIXTURES / 'checkpoint_2026_11_28.zip') as file:
        file.extractall(workdir / 'checkpoints')
    folder, at = checkpoint.find(workdir)
    meta = checkpoint.read_meta(folder, at)
    experiment = config.validate(config.from_dict(meta['config']))
    model = build.build(experiment, num_ids=len(meta['labels']), dtype='float32')
    adam = optimizer.build(experiment.optim, steps_per_epoch=meta['steps_per_epoch'], epochs=experiment.train.epochs)
    abstract = jax.eval_shape(
        lambda: step.create_state(step.init_variables(model, experiment, jax.random.key(0)), adam, 0)
    )
    placement = jax.sharding.NamedSharding(sharding.make_mesh(), sharding.COPIED)
    return model, meta, checkpoint.restore(folder, at, checkpoint.abstract_like(abstract, placement))


def features(model, state):
    """The embedding of two clips that anybody can make: [2, D] float32."""
    clips = np.sin(np.arange(2 * 4 * 64 * 32 * 3, dtype=np.float32)).reshape(2, 4, 64, 32, 3)
    return model.apply({'params': state.params, 'batch_stats': state.batch_stats}, clips, train=False).embedding


@pytest.mark.slow
def test_its_network_gives_the_features_that_it_gave(old):
    model, meta, state = old
    assert meta['labels'] == {str(pid): pid - 1 for pid in range(1, 13)}
    np.testing.assert_allclose(features(model, state), SAID['features'], rtol=1e-3, atol=1e-4)


def test_its_whole_state_comes_back(old):
    _, _, state = old
    assert int(state.step) == SAID['step'] == 4
    for name in ('params', 'batch_stats', 'opt_state'):
        leaves = jax.tree.leaves(getattr(state, name))
        assert [len(leaves), sum(leaf.size for leaf in leaves)] == SAID[name][:2], name
        length = sum(float(np.square(np.asarray(leaf, np.float64)).sum()) for leaf in leaves) ** 0.5
        assert length == pytest.approx(SAID[name][2], rel=1e-6), name
