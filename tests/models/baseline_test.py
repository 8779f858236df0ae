import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import PartitionSpec as P

from jaxreid import config, sharding
from jaxreid.models import build
from tests.fixtures import random_network

NUM_IDS = 5


def experiment(
    block='p3dc',
    *,
    strf_stages=(2, 3),
    depths=(1, 1, 1, 1),
    nonlocal_stage3=(),
    frame_pool='max',
    head='a',
    bn_groups=1,
    strides=(1, 2, 1, 1),
    **strf,
):
    return config.Experiment(
        backbone=config.Backbone(block=block, width=4, depths=depths, strides=strides, frame_pool=frame_pool),
        strf=config.Strf(stages=strf_stages, reduction=4, **strf),
        nonlocal_blocks=config.NonLocal(stage3=nonlocal_stage3),
        head=config.Head(kind=head),
        train=config.Train(bn_groups=bn_groups),
    )


def model_of(e, dtype=jnp.float32, axis_name=None):
    return build.build(e, num_ids=NUM_IDS, dtype=dtype, axis_name=axis_name)


def clips(b=2, t=3, h=32, w=16, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=(b, t, h, w, 3)).astype(dtype)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(model, v, x, train=False):
    return model.apply(v, x, train=train, mutable=['batch_stats'])


def random_variables(model, x, dtype=np.float32):
    return random_network.variables(random_network.shapes(model, x), dtype)


WHOLE_NETS = {
    'i3d with a unit, average pool, head b': {'block': 'i3d', 'strf_stages': (3,), 'frame_pool': 'avg', 'head': 'b'},
    'p3dc with units in two stages and a non-local block': {'strf_stages': (1, 2), 'nonlocal_stage3': (0,)},
}


@pytest.mark.slow
@pytest.mark.parametrize('name', WHOLE_NETS)
def test_the_whole_network_and_its_gradients_are_those_of_pytorchs_3d_layers(name):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_video_resnet as oracle

    with jax.enable_x64(True):
        e = experiment(**WHOLE_NETS[name])
        model, x = model_of(e, jnp.float64), clips(dtype=np.float64)
        v = random_variables(model, x, np.float64)
        rng = np.random.default_rng(9)
        w_embedding, w_logits = rng.normal(size=(2, 128)), rng.normal(size=(2, NUM_IDS))

        def loss(params):
            out, new = model.apply({**v, 'params': params}, x, train=True, mutable=['batch_stats'])
            # The feature's term keeps BatchNorm over two clips from hiding the network's gradient.
            value = (out.embedding * w_embedding).sum() + (out.logits * w_logits).sum()
            return value + (out.embedding_before_neck * w_embedding).sum(), (out, new['batch_stats'])

        (value, (out, stats)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(v['params'])

        def tensors(tree, grad):
            flat = traverse_util.flatten_dict(tree, sep='/')
            return {k: torch.tensor(np.asarray(a)).requires_grad_(grad) for k, a in flat.items()}

        p, torch_stats = tensors(v['params'], True), tensors(v['batch_stats'], False)
        embedding, feature, logits = oracle.forward(
            p,
            torch_stats,
            torch.tensor(x).movedim(-1, 1),
            depths=e.backbone.depths,
            strides=e.backbone.strides,
            block=e.backbone.block,
            stages=e.backbone.stages,
            strf_stages=e.strf.stages,
            order=e.strf.order,
            nonlocal_after=[(3, i) for i in e.nonlocal_blocks.stage3],
            head=e.head.kind,
            frame_pool=e.backbone.frame_pool,
        )
        loss_torch = (embedding * torch.tensor(w_embedding)).sum() + (logits * torch.tensor(w_logits)).sum()
        loss_torch = loss_torch + (feature * torch.tensor(w_embedding)).sum()
        loss_torch.backward()

        np.testing.assert_allclose(out.embedding_before_neck, feature.detach(), rtol=1e-8)
        np.testing.assert_allclose(out.logits, logits.detach(), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(value, loss_torch.detach(), rtol=1e-8)
        random_network.check_gradients(grads, p)
        random_network.check_means(stats, torch_stats)


def test_c2d_follows_the_order_of_frames_and_its_clip_feature_does_not():
    model, x, order = model_of(experiment('c2d', strf_stages=())), clips(t=4), [2, 0, 3, 1]
    v = random_variables(model, x)
    a, b = apply(model, v, x)[0], apply(model, v, x[:, order])[0]
    np.testing.assert_allclose(b.embedding, a.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b.extras['attention'], a.extras['attention'][:, order], rtol=1e-4, atol=1e-6)


def test_i3d_with_three_equal_slices_is_c2d_inside_a_constant_clip():
    # One inflated bottleneck, so that the zero frames beyond the ends reach one frame only.
    x = np.repeat(clips(t=1), 5, axis=1)
    e = experiment('i3d', strf_stages=())
    e.backbone.stages = (3,)
    flat, deep = model_of(experiment('c2d', strf_stages=())), model_of(e)
    v = random_variables(flat, x)
    values = traverse_util.flatten_dict(v)
    key = ('params', 'layer3', 'block0', 'conv2', 'kernel')
    values[key] = jnp.stack([values[key] / 3] * 3)
    expected = apply(flat, v, x)[0].extras['attention']
    got = apply(deep, traverse_util.unflatten_dict(values), x)[0].extras['attention']
    np.testing.assert_allclose(got[:, 1:-1], expected[:, 1:-1], rtol=1e-3, atol=1e-5)
    assert np.abs(got[:, 0] - expected[:, 0]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('block', ['c2d', 'p3dc'])
@pytest.mark.parametrize('last_stride', [1, 2])
def test_maps_have_the_sizes_of_the_paper(block, last_stride):
    e = experiment(block, strf_stages=(), strides=(1, 2, 2, last_stride))
    e.backbone.width, e.backbone.depths = 64, (3, 4, 6, 3)
    model, x = model_of(e), jax.ShapeDtypeStruct((2, 4, 256, 128, 3), jnp.float32)

    def run(x):
        v = model.init(jax.random.key(0), x, train=False)
        modules = {'stem', 'layer1', 'layer2', 'layer3', 'layer4'}
        out, seen = model.apply(v, x, train=False, capture_intermediates=lambda m, _: m.name in modules)
        return out, {k: jax.tree.leaves(y)[0] for k, y in seen['intermediates'].items()}

    out, maps = jax.eval_shape(run, x)
    last = (16, 8, 2048) if last_stride == 1 else (8, 4, 2048)
    assert {k: y.shape[2:] for k, y in maps.items()} == {
        'stem': (64, 32, 64),
        'layer1': (64, 32, 256),
        'layer2': (32, 16, 512),
        'layer3': (16, 8, 1024),
        'layer4': last,
    }
    assert out.embedding.shape == out.embedding_before_neck.shape == (2, 2048)
    assert out.extras['attention'].shape == (2, 4, 16, 8)


def test_a_stage_listed_for_units_gets_3d_blocks_at_every_other_bottleneck():
    e = experiment('p3dc', strf_stages=(1, 4), depths=(3, 4, 6, 3))
    v = jax.eval_shape(functools.partial(model_of(e).init, train=False), jax.random.key(0), clips())
    paths = traverse_util.flatten_dict(v['params']).keys()

    def holding(part):
        return {k[:2] for k in paths if part in k}

    units = {('layer1', 'block0'), ('layer1', 'block2'), ('layer4', 'block0'), ('layer4', 'block2')}
    assert holding('strf') == units
    assert holding('temporal') == units | {
        *(('layer2', f'block{i}') for i in (0, 2)),
        *(('layer3', f'block{i}') for i in (0, 2, 4)),
    }


def test_what_the_masks_of_every_unit_show_is_reported():
    model, x = model_of(experiment()), clips()
    out, _ = apply(model, random_variables(model, x), x, True)
    units, positions = ('layer2_block0', 'layer3_block0'), 8  # 4 x 2
    masks = {name: float(value) for name, value in out.extras['masks'].items()}
    assert masks.keys() == {f'mask_{what}/{unit}' for what in ('entropy', 'own', 'busiest') for unit in units}
    for unit in units:
        assert 0 <= masks[f'mask_entropy/{unit}'] <= np.log(positions) + 1e-5
        assert 0 <= masks[f'mask_own/{unit}'] <= 1
        assert 1 / positions - 1e-5 <= masks[f'mask_busiest/{unit}'] <= 1


def gradients(e, v, x, labels, devices):
    """Parameter gradients and new statistics of a training pass on so many devices (0: one program)."""
    axis_name = 'data' if devices else None
    model = model_of(e, v['params']['head']['classifier'].dtype, axis_name)

    def loss(params, stats, x, labels):
        params = sharding.varying(params, axis_name)
        out, new = model.apply({'params': params, 'batch_stats': stats}, x, train=True, mutable=['batch_stats'])
        value = (
            jnp.log(jnp.cosh(out.embedding_before_neck)).mean(1) - out.logits[jnp.arange(len(labels)), labels]
        ).mean()
        return (value if axis_name is None else jax.lax.pmean(value, axis_name)), new['batch_stats']

    call = jax.grad(loss, has_aux=True)
    if devices:
        mesh = jax.make_mesh(
            (devices,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
        )
        call = jax.shard_map(call, mesh=mesh, in_specs=(P(), P(), P('data'), P('data')), out_specs=(P(), P()))
    return jax.jit(call)(v['params'], v['batch_stats'], x, labels)


@pytest.mark.slow
def test_eight_devices_give_the_gradients_of_one():
    with jax.enable_x64(True):
        e = experiment(bn_groups=2, kappa=0.1)  # sharp masks of random units have no gradient
        x, labels = clips(b=16, t=2, dtype=np.float64), np.arange(16) % NUM_IDS
        v = random_variables(model_of(e, np.float64), x, np.float64)
        several, single = gradients(e, v, x, labels, 8), gradients(e, v, x, labels, 0)
        for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(single), strict=True):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * float(jnp.abs(b).max()))


def test_bfloat16_keeps_parameters_and_results_in_float32():
    model, x = model_of(experiment(), jnp.bfloat16), clips()
    v = random_variables(model, x)
    assert {a.dtype for a in jax.tree.leaves(v)} == {jnp.dtype(jnp.float32)}
    out, new = apply(model, v, x, True)
    assert {a.dtype for a in jax.tree.leaves((out, new))} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(out))
    exact = apply(model_of(experiment()), v, x)[0].embedding
    np.testing.assert_allclose(apply(model, v, x)[0].embedding, exact, atol=0.05 * float(jnp.abs(exact).max()))
