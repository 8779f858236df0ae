"""The whole network against PyTorch and loops, its sizes, and what holds for any weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.models import cost, sta
from tests.fixtures import random_network
from tests.oracles import sta as oracle

NUM_IDS = 5
MODES = ['image', 'avg', 'sta', 'fusion']
BACKBONE = config.Backbone(block='c2d', stages=(), width=4, depths=(1, 1, 1, 1), strides=(1, 2, 1, 1), frame_pool='avg')


def model_of(mode='fusion', dtype=jnp.float32, head='plain', backbone=BACKBONE, **settings):
    settings = {'stripes': 2, 'dim': 6} | settings
    return sta.Sta(
        backbone=backbone,
        sta=config.Sta(mode=mode, **settings),
        head=config.Head(kind=head),
        num_ids=NUM_IDS,
        dtype=jnp.dtype(dtype),
    )


def clips(b=2, t=3, h=32, w=16, dtype=np.float32, seed=0):
    """The last feature map is 4 x 2."""
    return np.random.default_rng(seed).normal(size=(b, t, h, w, 3)).astype(dtype)


@functools.partial(jax.jit, static_argnums=0)
def apply(model, v, x):
    """The output, and the last feature map."""
    out, seen = model.apply(
        v, x, train=False, mutable=['intermediates'], capture_intermediates=lambda m, _: m.name == 'layer4'
    )
    return out, jax.tree.leaves(seen)[0]


def random_variables(model, dtype=np.float32):
    return random_network.variables(random_network.shapes(model, clips()), dtype)


@pytest.mark.parametrize('frames', [1, 3])
@pytest.mark.parametrize('mode', MODES)
def test_embedding_and_logits_follow_from_the_last_map_as_in_loops(mode, frames):
    model = model_of(mode, attn_map='l2' if mode == 'fusion' else 'energy')
    v = random_variables(model)
    out, maps = apply(model, v, clips(t=frames))
    p = jax.tree.map(np.asarray, v['params'])
    for b, clip in enumerate(np.asarray(maps, np.float64)):
        pooled = oracle.feature(clip, mode=mode, kind=model.sta.attn_map, stripes=2)
        x = pooled @ p['fc']['kernel'] + p['fc']['bias']
        logits = x @ p['head']['classifier']
        if mode == 'image':
            rows = slice(b * frames, (b + 1) * frames)
            np.testing.assert_allclose(out.streams['frames'].embedding[rows], x, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(out.streams['frames'].embedding_before_neck[rows], x, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(out.streams['frames'].logits[rows], logits, rtol=1e-4, atol=1e-5)
            x, logits = x.mean(0), logits.mean(0)
        np.testing.assert_allclose(out.embedding[b], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(out.embedding_before_neck[b], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(out.logits[b], logits, rtol=1e-4, atol=1e-5)
        g = oracle.attention_map(clip, kind=model.sta.attn_map)
        np.testing.assert_allclose(out.extras['attention'][b], g, rtol=1e-4, atol=1e-6)
        if mode in ('sta', 'fusion'):
            scores = oracle.stripe_scores(g, stripes=2)
            np.testing.assert_allclose(out.extras['stripe_scores'][b], scores, rtol=1e-4)
    assert out.streams.keys() == ({'frames'} if mode == 'image' else set())
    assert ('stripe_scores' in out.extras) == (mode in ('sta', 'fusion'))


def torch_network(torch, p, stats, x):
    """Clips [B, 3, T, H, W] -> g, X and logits in training mode, fusion of 4 stripes, BN and ReLU on the embedding."""
    from tests.oracles import torch_video_resnet as net

    bn = net.normaliser(p, stats, True)
    x = torch.relu(bn(net.conv2d(x, p['stem/conv1/kernel'], 2), 'stem/bn1'))
    x = torch.nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for s, stride in enumerate(BACKBONE.strides, start=1):
        x = net.bottleneck(x, p, f'layer{s}/block0', bn, kind='c2d', stride=stride, has_unit=False)
    energy = x.pow(2).sum(1)  # [B, T, H, W]
    g = energy / energy.sum((2, 3), keepdim=True)
    halves = []
    for features, attention in zip(x.chunk(4, dim=3), g.chunk(4, dim=2)):  # stripes
        s = attention.abs().sum((2, 3))
        s = s / s.sum(1, keepdim=True)  # [B, T]
        first = torch.stack([clip[:, n] for clip, n in zip(features, s.argmax(1))])
        halves.append((first, torch.einsum('bt,bcthw->bchw', s, features)))
    fused = torch.cat([torch.cat(list(part), dim=2) for part in zip(*halves)], dim=1)
    embedding = torch.relu(bn(fused.mean((2, 3)) @ p['fc/kernel'] + p['fc/bias'], 'embed_bn'))
    return g, embedding, embedding @ p['head/classifier']


@pytest.mark.slow
def test_the_whole_network_and_its_gradients_are_those_of_pytorch():
    torch = pytest.importorskip('torch')
    with jax.enable_x64(True):
        model, x = model_of(dtype=jnp.float64, stripes=4, embed_bn=True, embed_relu=True), clips(b=4, dtype=np.float64)
        v = random_variables(model, np.float64)
        rng = np.random.default_rng(9)
        of_map, of_x, of_logits = (rng.normal(size=s) for s in ((4, 3, 4, 2), (4, 6), (4, NUM_IDS)))

        def loss(params):
            out, _ = model.apply({**v, 'params': params}, x, train=True, mutable=['batch_stats'])
            value = (out.extras['attention'] * of_map).sum() + (out.embedding * of_x).sum()
            return value + (out.logits * of_logits).sum(), out

        (value, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(v['params'])
        flat = {k: traverse_util.flatten_dict(v[k], sep='/') for k in ('params', 'batch_stats')}
        p = {k: torch.tensor(np.asarray(a), requires_grad=True) for k, a in flat['params'].items()}
        stats = {k: torch.tensor(np.asarray(a)) for k, a in flat['batch_stats'].items()}
        g, embedding, logits = torch_network(torch, p, stats, torch.tensor(x).movedim(-1, 1))
        expected = (g * torch.tensor(of_map)).sum() + (embedding * torch.tensor(of_x)).sum()
        expected = expected + (logits * torch.tensor(of_logits)).sum()
        expected.backward()

        np.testing.assert_allclose(out.embedding, embedding.detach(), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(value, expected.detach(), rtol=1e-8)
        random_network.check_gradients(grads, p)


FULL = config.Backbone(block='c2d', stages=(), frame_pool='avg')


@pytest.mark.parametrize(
    ('mode', 'dim', 'expected'),
    [
        ('sta', 1024, 26_246_208),
        ('fusion', 1024, 28_343_360),
        ('avg', 1024, 26_246_208),
        ('image', 1024, 26_246_208),
        ('sta', 2048, 28_984_384),
        ('fusion', 2048, 33_178_688),
    ],
)
def test_parameters_are_counted_exactly(mode, dim, expected):
    model = sta.Sta(backbone=FULL, sta=config.Sta(mode=mode, dim=dim), head=config.Head(kind='plain'), num_ids=625)
    x = jax.ShapeDtypeStruct((1, 4, 256, 128, 3), jnp.float32)
    out, v = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False), x)
    total, parts = cost.parameters(v)
    assert total == expected
    assert parts.keys() == {'stem', 'layer1', 'layer2', 'layer3', 'layer4', 'fc', 'head'}  # none in the attention
    assert out.extras['attention'].shape == (1, 4, 16, 8)
    assert out.embedding.shape == (1, dim)


def test_any_number_of_frames_runs_with_the_same_variables():
    v = random_variables(model_of())
    for frames in (2, 6):
        out, _ = apply(model_of(), v, clips(t=frames))
        assert out.extras['stripe_scores'].shape == (2, frames, 2)
        assert out.embedding.shape == (2, 6)
        assert np.isfinite(out.embedding).all()


def test_one_frame_gives_the_same_embedding_in_every_mode_without_fusion():
    v, x = random_variables(model_of('avg')), clips(t=1)
    expected = apply(model_of('avg'), v, x)[0]
    for mode in ('image', 'sta'):
        found = apply(model_of(mode), v, x)[0]
        np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-6)


def test_one_stripe_is_the_mean_of_the_frames():
    v, x = random_variables(model_of('avg')), clips()
    found, expected = apply(model_of('sta', stripes=1), v, x)[0], apply(model_of('avg'), v, x)[0]
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-6)


def test_the_order_of_frames_does_not_matter():
    model, x = model_of(), clips()
    v = random_variables(model)
    a, b = apply(model, v, x)[0], apply(model, v, x[:, [2, 0, 1]])[0]
    np.testing.assert_allclose(b.embedding, a.embedding, rtol=1e-4, atol=1e-6)


def test_image_mode_normalises_each_frame_as_a_sample_of_its_clip():
    model, x = model_of('image', head='a', embed_bn=True), clips(b=4)
    out, new = jax.jit(lambda v: model.apply(v, x, train=True, mutable=['batch_stats']))(random_variables(model))
    frames = out.streams['frames']
    assert frames.embedding.shape == (12, 6)
    assert frames.logits.shape == (12, NUM_IDS)
    np.testing.assert_allclose(frames.embedding_before_neck.reshape(4, 3, 6).mean(1), out.embedding_before_neck)
    p = new['batch_stats']['head']['neck']
    old = random_variables(model)['batch_stats']['head']['neck']['mean']
    np.testing.assert_allclose(p['mean'], old + 0.1 * (frames.embedding_before_neck.mean(0) - old), rtol=1e-4)


def test_bfloat16_keeps_parameters_and_results_in_float32():
    model, x = model_of(dtype=jnp.bfloat16), clips()
    v = random_variables(model)
    out, maps = apply(model, v, x)
    assert maps.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(out)} == {jnp.dtype(jnp.float32)}
    exact = apply(model_of(), v, x)[0].embedding
    np.testing.assert_allclose(out.embedding, exact, atol=0.05 * float(jnp.abs(exact).max()))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match='Valid: image, avg, sta, fusion'):
        jax.eval_shape(lambda: model_of('max').init(jax.random.key(0), clips(), train=False))
