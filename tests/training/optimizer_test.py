import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid import config
from jaxreid.training import optimizer
from tests.oracles import adam as oracle

STEPS_PER_EPOCH, EPOCHS = 4, 5


def rates(cfg, *, steps=STEPS_PER_EPOCH * EPOCHS, epochs=EPOCHS):
    schedule = optimizer.learning_rate(cfg, steps_per_epoch=STEPS_PER_EPOCH, epochs=epochs)
    return [float(schedule(step)) for step in range(steps)]


def train(cfg, start, gradients):
    """Values of a parameter after each of the steps."""
    tx = optimizer.build(cfg, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)
    params = {'kernel': jnp.asarray(start), 'scale': jnp.asarray(start[:1])}
    state = tx.init(params)
    update = jax.jit(tx.update)
    found = []
    for gradient in gradients:
        updates, state = update({'kernel': jnp.asarray(gradient), 'scale': jnp.asarray(gradient[:1])}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params['scale'], params['kernel'][:1], rtol=1e-6)
        found.append(np.asarray(params['kernel']))
    return np.stack(found)


def draw(steps=STEPS_PER_EPOCH * EPOCHS):
    rng = np.random.default_rng(0)
    return rng.normal(size=3), rng.normal(size=(steps, 3)) * np.array([1, 1e-3, 1e-7])


def test_twenty_steps_are_those_of_the_loop():
    cfg = config.Optim(lr=0.01, weight_decay=0.3, schedule='constant')
    start, gradients = draw()
    with jax.enable_x64(True):
        found = train(cfg, start, gradients)
    for i in range(3):
        expected = oracle.adam(start[i], gradients[:, i], [0.01] * len(gradients), weight_decay=0.3)
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize('weight_decay', [0.0, 5e-4, 0.5])
def test_twenty_steps_with_decays_are_those_of_torch(weight_decay):
    torch = pytest.importorskip('torch')
    cfg = config.Optim(lr=0.02, weight_decay=weight_decay, decay_epochs=(1, 3), decay_factor=0.1)
    start, gradients = draw()
    parameter = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([parameter], lr=0.02, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, milestones=[1, 3], gamma=0.1)
    expected = []
    for epoch in range(EPOCHS):
        for gradient in gradients[epoch * STEPS_PER_EPOCH : (epoch + 1) * STEPS_PER_EPOCH]:
            parameter.grad = torch.tensor(gradient)
            adam.step()
            expected.append(parameter.detach().numpy().copy())
        schedule.step()
    with jax.enable_x64(True):
        found = train(cfg, start, gradients)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-10)


def test_the_step_schedule_decays_at_the_first_step_of_an_epoch():
    found = rates(config.Optim(lr=0.5, decay_epochs=(2, 4), decay_factor=0.1))
    np.testing.assert_allclose(found, [0.5] * 8 + [0.05] * 8 + [0.005] * 4, rtol=1e-5)


def test_the_recipe_of_strf_decays_every_fifty_epochs():
    schedule = optimizer.learning_rate(config.Optim(), steps_per_epoch=235, epochs=250)
    for epoch in (0, 49, 50, 99, 100, 150, 200, 249):
        for step in (epoch * 235, epoch * 235 + 234):
            np.testing.assert_allclose(schedule(jnp.int32(step)), 3e-4 * 0.1 ** (epoch // 50), rtol=1e-5)


def test_without_decay_epochs_the_step_schedule_is_constant():
    np.testing.assert_allclose(rates(config.Optim(lr=0.5, decay_epochs=())), 0.5)


def test_the_cosine_falls_from_the_rate_to_zero_after_the_last_step():
    found = rates(config.Optim(lr=0.5, schedule='cosine'), steps=21)
    np.testing.assert_allclose(
        found, [0.25 * (1 + math.cos(math.pi * s / 20)) for s in range(21)], rtol=1e-5, atol=1e-8
    )
    assert rates(config.Optim(lr=0.5, schedule='cosine'), steps=24)[-1] == 0


def test_the_warm_up_is_linear_in_steps_and_the_cosine_begins_at_its_end():
    cfg = config.Optim(lr=0.5, schedule='cosine', warmup_epochs=1.5, warmup_factor=0.1)
    expected = [0.5 * (0.1 + 0.9 * s / 6) for s in range(6)]
    expected += [0.25 * (1 + math.cos(math.pi * s / 14)) for s in range(14)]
    np.testing.assert_allclose(rates(cfg), expected, rtol=1e-5)


def test_the_warm_up_multiplies_the_step_schedule():
    cfg = config.Optim(lr=1.0, decay_epochs=(1,), decay_factor=0.5, warmup_epochs=2, warmup_factor=0.0)
    np.testing.assert_allclose(
        rates(cfg)[:10], [0, 1 / 8, 2 / 8, 3 / 8, 2 / 8, 5 / 16, 6 / 16, 7 / 16, 0.5, 0.5], rtol=1e-5
    )


def test_the_first_step_moves_by_the_rate_against_the_sign():
    cfg = config.Optim(lr=0.01, weight_decay=0.0, schedule='constant')
    found = train(cfg, np.zeros(3, np.float32), np.array([[4.0, -0.2, 7.0]], np.float32))
    np.testing.assert_allclose(found[0], [-0.01, 0.01, -0.01], rtol=1e-5)


def test_settings_that_are_no_training_are_refused():
    with pytest.raises(ValueError, match=r"optim\.schedule = 'linear'"):
        rates(config.Optim(schedule='linear'))
    with pytest.raises(ValueError, match='fewer identities'):
        optimizer.learning_rate(config.Optim(), steps_per_epoch=0, epochs=3)
    with pytest.raises(ValueError, match='leaves none of 20'):
        rates(config.Optim(schedule='cosine', warmup_epochs=5))


def test_memories_learn_faster_by_their_factor_and_all_else_as_ever():
    parts = ('keys', 'values', 'norm/scale')
    tree = {
        'spatial_memory': {'keys': jnp.ones(2), 'values': jnp.ones(2), 'norm': {'scale': jnp.ones(2)}},
        'temporal_memory': {'keys': jnp.ones(2), 'values': jnp.ones(2), 'lstm': {'weight_ih': jnp.ones(2)}},
        'layer4': {'norm': {'scale': jnp.ones(2)}, 'keys': jnp.ones(2)},
    }
    plain, fast = (
        optimizer.build(config.Optim(memory_rate=rate), steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)
        for rate in (1.0, 7.0)
    )
    gradient = jax.tree.map(lambda x: 0.5 * x, tree)
    one, many = (tx.update(gradient, tx.init(tree), tree)[0] for tx in (plain, fast))
    for path, update in jax.tree_util.tree_leaves_with_path(jax.tree.map(jnp.divide, many, one)):
        name = '/'.join(key.key for key in path)
        expected = 7 if name.startswith(('spatial_memory', 'temporal_memory')) and name.endswith(parts) else 1
        np.testing.assert_allclose(update, expected, rtol=1e-6, err_msg=name)
    assert jax.tree.structure(plain.init(tree)) != jax.tree.structure(fast.init(tree))  # checkpoints of 1 stay readable


def test_frozen_stages_stay_and_the_rest_of_the_trunk_learns_by_its_factor():
    names = ('stem', 'layer1', 'layer2', 'layer4', 'layer4_spatial', 'head', 'head_spatial', 'layer40')
    tree = {name: {'conv1': {'kernel': jnp.ones(2)}, 'bn1': {'bias': jnp.ones(2)}} for name in names}
    cfg = config.Optim(trunk_rate=0.1, frozen_stages=(0, 1, 2), weight_decay=0.1)
    plain, fine = (
        optimizer.build(one, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)
        for one in (config.Optim(weight_decay=0.1), cfg)
    )
    gradient = jax.tree.map(lambda x: 0.5 * x, tree)
    one, many = (tx.update(gradient, tx.init(tree), tree)[0] for tx in (plain, fine))
    ratios = jax.tree.map(jnp.divide, many, one)
    for name, expected in zip(names, (0, 0, 0, 0.1, 0.1, 1, 1, 1), strict=True):
        for ratio in jax.tree.leaves(ratios[name]):
            np.testing.assert_allclose(ratio, expected, rtol=1e-6, err_msg=name)


def test_a_frozen_vit_learns_in_its_adapters_and_factors_of_biases_and_new_modules_multiply():
    def of(*names):
        return jax.tree.map(lambda x: x, {name: {'kernel': jnp.ones(2), 'bias': jnp.ones(2)} for name in names})

    tree = {'visual': {'block0': of('mlp', 'adapter_mlp')}, 'tmd': of('message'), 'head_token': of('x')}
    cfg = config.Optim(frozen_stages=(0,), bias_rate=2.0, tenfold=('tmd',), weight_decay=0.1)
    plain, fine = (
        optimizer.build(one, steps_per_epoch=STEPS_PER_EPOCH, epochs=EPOCHS)
        for one in (config.Optim(weight_decay=0.1), cfg)
    )
    gradient = jax.tree.map(lambda x: 0.5 * x, tree)
    one, many = (tx.update(gradient, tx.init(tree), tree)[0] for tx in (plain, fine))
    ratios = jax.tree.map(lambda a, b: float((a / b)[0]), many, one)
    expected = {
        'visual': {'block0': {'mlp': {'kernel': 0, 'bias': 0}, 'adapter_mlp': {'kernel': 1, 'bias': 2}}},
        'tmd': {'message': {'kernel': 10, 'bias': 20}},
        'head_token': {'x': {'kernel': 1, 'bias': 2}},
    }
    for found, wanted in zip(jax.tree.leaves(ratios), jax.tree.leaves(expected), strict=True):
        assert found == pytest.approx(wanted, rel=1e-6)


def test_a_longer_run_says_what_its_learning_rate_does():
    say = functools.partial(optimizer.lengthened, steps_per_epoch=STEPS_PER_EPOCH, before=5, now=10, at=20)
    for schedule in ('step', 'constant'):
        text = say(config.Optim(schedule=schedule, warmup_epochs=1))
        assert 'this is the run that 10 epochs from the start would have been' in text
    text = say(config.Optim(schedule='cosine', lr=0.5, warmup_epochs=0))
    assert 'goes from 0 up to 0.25 here and falls to 0 at the end' in text  # half of a cosine is half of the rate
    assert 'would be another run' in text
