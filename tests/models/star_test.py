import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.layers import batch_norm, frame_attention
from jaxreid.models import resnet, star
from tests.fixtures import random_network

NUM_IDS = 5
WIDTH = 4  # 128 channels at the end
NONE = {'attention': 'off', 'aggregator': 'pool'}


def model_of(dtype=jnp.float32, *, depths=(1, 1, 1, 1), strides=(1, 2, 2, 2), axis_name=None, remat=False, **settings):
    return star.Star(
        backbone=config.Backbone(block='c2d', width=WIDTH, depths=depths, strides=strides, frame_pool='avg'),
        star=config.Star(**({'hidden': 8, 'attention_reduction': 4, 'pyramid_levels': (1, 2)} | settings)),
        head=config.Head(kind='plain'),
        num_ids=NUM_IDS,
        axis_name=axis_name,
        remat=remat,
        dtype=dtype,
    )


def full_size(**settings):
    backbone = config.Backbone(block='c2d', strides=(1, 2, 2, 2))
    return star.Star(backbone=backbone, star=config.Star(**settings), head=config.Head('plain'), num_ids=625)


def inputs(b=2, t=3, h=64, w=32, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, t, h, w, 3)).astype(dtype), rng.uniform(-1, 1, (b, t, h, w, 2)).astype(dtype)


@functools.partial(jax.jit, static_argnums=(0,), static_argnames=('train', 'chunk'))
def apply(model, v, clips, flow, *, train=False, lengths=None, chunk=0):
    return model.apply(v, clips, flow, train=train, lengths=lengths, chunk=chunk, mutable=['batch_stats'])


def random_variables(model, clips, flow, dtype=np.float32):
    return random_network.variables(random_network.shapes(model, clips, flow), dtype)


def test_the_whole_network_and_its_gradients_are_those_of_pytorch():
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_star as oracle

    with jax.enable_x64(True):
        # Attention after two of the stages only, since every one takes seconds to compile.
        model = model_of(jnp.float64, flow_channels=3, attention_stages=(2, 4))
        clips, flow = inputs(t=2, dtype=np.float64)
        flow[1] = 0  # a clip without flow
        v = random_variables(model, clips, flow, np.float64)
        rng = np.random.default_rng(9)
        w_embedding, w_logits, w_stripes = (rng.normal(size=s) for s in ((2, 128), (2, NUM_IDS), (2, 2, 2, 128)))

        def loss(params):
            out, new = model.apply({**v, 'params': params}, clips, flow, train=True, mutable=['batch_stats'])
            value = (out.embedding * w_embedding).sum() + (out.logits * w_logits).sum()
            return value + (out.extras['stripes']['2'] * w_stripes).sum(), (out, new['batch_stats'])

        (value, (out, stats)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(v['params'])

        def tensors(tree, grad):
            flat = traverse_util.flatten_dict(tree, sep='/')
            return {k: torch.tensor(np.asarray(a)).requires_grad_(grad) for k, a in flat.items()}

        p, torch_stats = tensors(v['params'], True), tensors(v['batch_stats'], False)
        flow = np.concatenate([flow, np.hypot(flow[..., :1], flow[..., 1:])], axis=-1)
        vector, logits, gate, weights, maps = oracle.forward(
            p,
            torch_stats,
            torch.tensor(clips).movedim(-1, 1),
            torch.tensor(flow).movedim(-1, 1),
            depths=model.backbone.depths,
            strides=model.backbone.strides,
            attends=model.star.attention_stages,
        )
        stripes = maps.reshape(2, 128, 2, 2, -1).mean(-1).permute(0, 2, 3, 1)
        loss_torch = (vector * torch.tensor(w_embedding)).sum() + (logits * torch.tensor(w_logits)).sum()
        loss_torch = loss_torch + (stripes * torch.tensor(w_stripes)).sum()
        loss_torch.backward()

        np.testing.assert_allclose(out.embedding, vector.detach(), rtol=1e-8)
        np.testing.assert_array_equal(out.embedding_before_neck, out.embedding)
        np.testing.assert_allclose(out.logits, logits.detach(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(out.extras['attention'], gate.detach(), rtol=1e-8)
        np.testing.assert_allclose(out.extras['stripes']['2'], stripes.detach(), rtol=1e-8)
        np.testing.assert_allclose(out.extras['frame_weights'], weights.detach(), rtol=1e-8)
        np.testing.assert_allclose(value, loss_torch.detach(), rtol=1e-8)
        random_network.check_gradients(grads, p)
        random_network.check_means(stats, torch_stats)


def test_attention_in_every_bottleneck_weighs_the_branch_before_the_shortcut_is_added():
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_star, torch_video_resnet

    with jax.enable_x64(True):
        norm = functools.partial(batch_norm.BatchNorm, train=True, dtype=jnp.float64)
        attention = functools.partial(frame_attention.Cbam, reduction=4, norm=norm)
        module = resnet.Stage(4, 1, 2, 'c2d', None, norm, dtype=jnp.float64, remat=True, attention=attention)
        rng = np.random.default_rng(0)
        x, w_y, w_gate = (rng.normal(size=s) for s in ((2, 3, 6, 4, 5), (2, 3, 3, 2, 16), (2, 3, 3, 2)))
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)
        v = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.1, 1, a.shape) - 0.3), shapes)

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def gradient(params):
            y, shown = module.apply({**v, 'params': params}, x, mutable=['batch_stats'])[0]
            return (y * w_y).sum() + (shown['block0'] * w_gate).sum(), (y, shown['block0'])

        grads, (y, gate) = gradient(v['params'])
        flat = traverse_util.flatten_dict(v['params'], sep='/')
        p = {k: torch.tensor(np.asarray(a)).requires_grad_() for k, a in flat.items()}
        stats = traverse_util.flatten_dict(v['batch_stats'], sep='/')
        bn = torch_video_resnet.normaliser(p, {k: torch.tensor(np.asarray(a)) for k, a in stats.items()}, True)
        y_torch, gate_torch = torch_star.bottleneck(torch.tensor(x).movedim(-1, 1), p, 'block0', bn, 2)
        y_torch = y_torch.movedim(1, -1)
        ((y_torch * torch.tensor(w_y)).sum() + (gate_torch * torch.tensor(w_gate)).sum()).backward()
        np.testing.assert_allclose(y, y_torch.detach(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(gate, gate_torch.detach(), rtol=1e-8)
        for key, grad in traverse_util.flatten_dict(grads, sep='/').items():
            scale = max(1e-6, float(p[key].grad.abs().max()))
            np.testing.assert_allclose(grad / scale, p[key].grad / scale, atol=1e-6, err_msg=key)


def test_attention_sits_after_stages_or_in_their_bottlenecks():
    clips, flow = inputs()

    def places(**settings):
        model = model_of(depths=(1, 2, 1, 1), attention_stages=(2, 4), **settings)
        paths = traverse_util.flatten_dict(random_network.shapes(model, clips, flow)['params'], sep='/')
        return {k.partition('/channel')[0] for k in paths if 'squeeze/kernel' in k}

    assert places() == {'attention2', 'attention4'}
    assert places(attention_place='block', attention='cbam') == {
        'layer2/block0/attention',
        'layer2/block1/attention',
        'layer4/block0/attention',
    }
    assert places(attention='off') == set()


FULL_SIZE = {
    'two streams': (NONE, 24_794_432),
    'rgb alone': (NONE | {'streams': ('rgb',)}, 24_794_432 - 6_400),
    'with lsta': ({'aggregator': 'pool'}, 25_495_076),
    'with lsta and gsta': ({}, 47_270_565),
    'gsta alone': ({'attention': 'off'}, 24_794_432 + 21_775_489),
    'lsta with shared kernels': ({'aggregator': 'pool', 'lsta_shared': True}, 25_495_076 - 4 * 36),
    'lsta after two stages': ({'aggregator': 'pool', 'attention_stages': (3, 4)}, 24_794_432 + 132_221 + 526_525),
}


@pytest.mark.parametrize('name', FULL_SIZE)
def test_parameters_are_those_of_the_specification(name):
    settings, expected = FULL_SIZE[name]
    model = full_size(**settings)
    clips = jax.ShapeDtypeStruct((1, 2, 256, 128, 3), jnp.float32)
    flow = jax.ShapeDtypeStruct((1, 2, 256, 128, 2), jnp.float32)
    assert sum(a.size for a in jax.tree.leaves(random_network.shapes(model, clips, flow)['params'])) == expected


def test_outputs_at_full_size_have_the_shapes_of_the_paper():
    model = full_size()
    clips, flow = (jax.ShapeDtypeStruct((2, 3, 256, 128, c), jnp.float32) for c in (3, 2))
    out, _ = jax.eval_shape(functools.partial(apply, model), random_network.shapes(model, clips, flow), clips, flow)
    assert (out.embedding.shape, out.logits.shape) == ((2, 2048), (2, 625))
    assert out.extras['attention'].shape == (2, 3, 8, 4)
    assert out.extras['frame_weights'].shape == (2, 3)
    assert {k: a.shape for k, a in out.extras['stripes'].items()} == {g: (2, 3, int(g), 2048) for g in '124'}


@pytest.mark.slow
def test_whole_clips_in_pieces_and_with_padding_give_what_they_give_alone():
    model, (clips, flow) = model_of(attention_stages=(4,)), inputs(b=2, t=5)
    v = random_variables(model, clips, flow)
    lengths = jnp.array([5, 2])
    clips[1, 2:], flow[1, 2:] = 50, 50
    whole, _ = apply(model, v, clips, flow, lengths=lengths)
    pieces, _ = apply(model, v, clips, flow, lengths=lengths, chunk=2)
    for a, b in zip(jax.tree.leaves(pieces), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    alone, _ = apply(model, v, clips[1:, :2], flow[1:, :2])
    np.testing.assert_allclose(whole.embedding[1], alone.embedding[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.logits[1], alone.logits[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.extras['frame_weights'][1, :2], alone.extras['frame_weights'][0], rtol=1e-5)
    assert not whole.extras['frame_weights'][1, 2:].any()
    assert not whole.extras['stripes']['2'][1, 2:].any()


def test_a_flow_stem_of_zeros_leaves_the_rgb_network():
    both, rgb, (clips, flow) = model_of(**NONE), model_of(streams=('rgb',), **NONE), inputs()
    v = random_variables(both, clips, flow)
    v['params']['flow_stem']['conv1']['kernel'] *= 0
    v['params']['flow_stem']['bn1']['bias'] *= 0
    v['batch_stats']['flow_stem']['bn1']['mean'] *= 0
    expected, _ = apply(both, v, clips, flow)
    without = {kind: {k: a for k, a in v[kind].items() if k != 'flow_stem'} for kind in v}
    np.testing.assert_allclose(apply(rgb, without, clips, None)[0].embedding, expected.embedding, rtol=1e-5, atol=1e-6)


def test_the_flow_stem_starts_as_the_mean_of_the_rgb_kernel():
    model, (clips, flow) = model_of(flow_channels=3, **NONE), inputs()
    v = random_variables(model, clips, flow)
    new = star.flow_stem_from_rgb(v)
    kernel, rgb = (np.asarray(new['params'][k]['conv1']['kernel']) for k in ('flow_stem', 'stem'))
    assert kernel.shape == (7, 7, 3, WIDTH)
    for c in range(3):
        np.testing.assert_allclose(kernel[:, :, c], rgb.mean(2), rtol=1e-5, atol=1e-7)
    new['params']['flow_stem'] = v['params']['flow_stem'] | {'bn1': new['params']['flow_stem']['bn1']}
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), new, v))
    one_stream = {'params': {'flow_stem': v['params']['flow_stem']}}
    assert star.flow_stem_from_rgb(one_stream) is one_stream


def test_attention_shows_the_energy_of_the_maps_where_nothing_weighs_positions():
    model, (clips, flow) = model_of(**NONE), inputs()
    v = random_variables(model, clips, flow)
    out, _ = apply(model, v, clips, flow)
    assert out.extras['attention'].shape == (2, 3, 2, 1)
    assert out.extras['attention'].min() >= 0
    assert 'frame_weights' not in out.extras
    np.testing.assert_allclose(out.embedding, out.extras['stripes']['1'].mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize('aggregator', ['gsta', 'lstm', 'conv3d', 'holistic', 'pool'])
def test_bfloat16_keeps_parameters_and_results_in_float32(aggregator):
    model, (clips, flow) = model_of(jnp.bfloat16, aggregator=aggregator), inputs()
    v = random_network.shapes(model, clips, flow)
    found = v, jax.eval_shape(functools.partial(apply, model, train=True), v, clips, flow)
    assert {a.dtype for a in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}


BAD_CALLS = {
    "holds 'flow', but none was given": ({}, {'flow': None}),
    'call with train=False': ({}, {'train': True, 'lengths': jnp.array([1, 1])}),
    'does not divide the 2 rows': ({'pyramid_levels': (4,)}, {}),
    r"star\.attention = 'lsa' is not known\. Did you mean 'lsta'": ({'attention': 'lsa'}, {}),
    r"star\.aggregator = 'mean' is not known\. Valid: gsta": ({'aggregator': 'mean'}, {}),
}


@pytest.mark.parametrize('message', BAD_CALLS)
def test_what_cannot_be_run_is_explained(message):
    settings, call = BAD_CALLS[message]
    clips, flow = inputs()
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda: model_of(**settings).init(jax.random.key(0), clips, **({'flow': flow, 'train': False} | call))
        )
