"""SINet beside PyTorch, and its properties; its modules are in layers/sinet/modules_test.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.weights import torch_names
from tests.fixtures import torch_modules

NUM_IDS, B, T = 5, 3, 4
QUICKLY = {'xla_backend_optimization_level': 0}


def experiment(**changes):
    backbone = config.Backbone(block='c2d', width=4, depths=(1, 2, 2, 1), init='random')
    e = config.Experiment(system='sinet', backbone=backbone, strf=config.Strf(stages=()))
    e.data.height, e.data.width = 64, 48
    e.sinet = config.Sinet(idm=(0, 1), sbm=(0, 1), reduction=4, stem_padding=False)
    config.apply(e, changes)
    return config.validate(e)


def clips(frames=T, height=64, width=48):
    return np.random.default_rng(0).normal(size=(B, frames, height, width, 3))


@pytest.mark.slow
def test_the_whole_network_and_its_gradients_are_pytorchs():
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_sinet

    e, x, rng = experiment(), clips(), np.random.default_rng(3)
    names = torch_names.published(e)
    net = torch_sinet.Network(
        num_ids=NUM_IDS, width=4, depths=e.backbone.depths, idm=(0, 1), sbm=(0, 1), places=T * 8 * 6, reduction=4
    )
    net = torch_sinet.randomise(net).double()
    v = torch_modules.variables(net, names)
    shapes = [(B, 128), (B, 128), (B, NUM_IDS), (B, T, 128)]
    weights = [rng.normal(size=shape) for shape in shapes]

    def results(out):
        return out.embedding_before_neck, out.embedding, out.logits, out.extras['projected']

    with jax.enable_x64(True):
        model = build.build(e, num_ids=NUM_IDS, dtype=jnp.float64)

        @functools.partial(jax.jit, compiler_options=QUICKLY)
        @functools.partial(jax.grad, has_aux=True)
        def ours(params):
            out, new = model.apply({**v, 'params': params}, x, train=True, mutable=['batch_stats'])
            made = results(out)
            return sum((a * w).sum() for a, w in zip(made, weights, strict=True)), (made, new['batch_stats'])

        test = jax.jit(functools.partial(model.apply, train=False), compiler_options=QUICKLY)
        tested = jax.device_get(test(v, x))
        grads, (made, statistics) = jax.device_get(ours(v['params']))

    with torch.no_grad():
        expected = net(torch.tensor(x))
    for a, b in zip((tested.embedding_before_neck, tested.embedding, tested.logits), expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
    assert 'projected' not in tested.extras
    expected = net.train()(torch.tensor(x))
    expected = [*expected[:3], expected[3].movedim(1, 2)]
    sum((a * torch.tensor(w)).sum() for a, w in zip(expected, weights, strict=True)).backward()
    for a, b in zip(made, expected, strict=True):
        np.testing.assert_allclose(a, b.detach(), rtol=1e-7, atol=1e-8)
    torch_modules.check_gradients(grads, net, names, tolerance=1e-6)
    torch_modules.check_means(statistics, net, names)


# Parameters here and in the public code, whose convolutions in front of norms have biases; 625 identities.
COUNTS = {
    'sinet': ((1, 3), (1, 3, 5), True, 31_713_383),
    'sbnet': ((), (1, 3, 5), True, 30_593_511),
    'idnet': ((1, 3), (), False, 25_912_625),
    'c2d': ((), (), False, 24_792_753),
}


@pytest.mark.parametrize('row', COUNTS)
def test_parameter_counts_are_those_of_the_public_code_without_its_idle_biases(row):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_sinet

    idm, sbm, contrast, count = COUNTS[row]
    e = config.Experiment(system='sinet', backbone=config.Backbone(block='c2d'), strf=config.Strf(stages=()))
    e.sinet = config.Sinet(idm=idm, sbm=sbm, contrast_weight=0.001 * contrast)
    model = build.build(config.validate(e), num_ids=625, dtype=jnp.float32)
    total, parts = cost.parameters(cost.shapes(model, frames=T, height=256, width=128))
    assert total == count
    assert parts.get('idm', 0) == (1_119_872 if idm else 0)
    assert parts.get('sbm', 0) == (1_604_406 if sbm else 0)
    with torch.device('meta'):
        net = torch_sinet.Network(idm=idm, sbm=sbm, projection=contrast)
    theirs = {name: value.numel() for name, value in net.named_parameters()}
    biases = sum(n for name, n in theirs.items() if (m := torch_names.BEFORE_NORM.search(name)) and m[3] == 'bias')
    assert sum(theirs.values()) == total + biases
    assert biases == 26_560 + (2 * (32 + 128) if idm else 0) + (3 * 9 if sbm else 0)


def test_a_clip_of_another_length_is_refused_where_positions_have_weights():
    e = experiment()
    model = build.build(e, num_ids=NUM_IDS, dtype=jnp.float32)
    shapes = cost.shapes(model, frames=T, height=64, width=48)
    run = functools.partial(jax.eval_shape, functools.partial(model.apply, train=False), shapes)
    run(clips())
    with pytest.raises(ValueError, match='has weights for 192 positions in all'):
        run(clips(frames=8))
    free = build.build(experiment(**{'sinet.idm': ()}), num_ids=NUM_IDS, dtype=jnp.float32)
    shapes = cost.shapes(free, frames=T, height=64, width=48)
    assert config.has_fixed_length(e)
    assert not config.has_fixed_length(experiment(**{'sinet.idm': ()}))
    longer = jax.eval_shape(functools.partial(free.apply, train=False), shapes, clips(frames=8))
    assert longer.extras['attention'].shape == (B, 8, 4, 3)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'test.frames': 8}, 'sinet weighs exactly sampler.frames = 4 frames'),
        ({'sinet.idm': (), 'sampler.frames': 6}, r'sinet\.sbm takes frames by fours'),
        ({'sinet.sbm': (), 'sampler.frames': 6, 'test.frames': 6}, r'sinet\.contrast_weight takes frames by fours'),
        ({'sinet.sbm': (1, 0)}, 'at most three bottlenecks in rising order'),
        ({'sinet.idm': (2,)}, r'sinet\.idm = \(2,\) names a bottleneck outside 0 ... 1'),
        ({'sampler.tracklets_per_id': 1}, 'the InfoNCE needs positives'),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_runs(changes, message):
    with pytest.raises(config.ConfigError, match=message):
        experiment(**changes)
