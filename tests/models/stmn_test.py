"""STMN against PyTorch, and its properties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.models import stmn

NUM_IDS, B, L, D = 5, 4, 3, 128
QUICKLY = {'xla_backend_optimization_level': 0}  # compiling takes longer than running here
RELEASED = {'query_layout': 'flat', 'key_norm': 'channel', 'stem_relu': False}


def model_of(dtype=jnp.float32, frames=L, bn_groups=1, **settings):
    backbone = config.Backbone(block='c2d', width=4, depths=(1, 1, 1, 2), strides=(1, 2, 1, 1), frame_pool='avg')
    return stmn.Stmn(
        backbone=backbone,
        stmn=config.Stmn(spatial_items=4, temporal_items=2, **settings),
        head=config.Head(kind='b'),
        frames=frames,
        num_ids=NUM_IDS,
        bn_groups=bn_groups,
        dtype=dtype,
    )


def clips(dtype=np.float32, frames=L):
    return np.random.default_rng(0).normal(size=(B, frames, 32, 16, 3)).astype(dtype)


def random_variables(model, x, dtype=np.float32, seed=0):
    """Every parameter random, those that start at zero too, so that each has an effect."""
    rng = np.random.default_rng(seed)
    flat = traverse_util.flatten_dict(jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x))
    values = {}
    for path, leaf in sorted(flat.items()):
        match path[-1]:
            case 'scale' | 'var':
                value = rng.uniform(0.7, 1.3, leaf.shape)
            case 'bias' | 'mean':
                value = rng.normal(size=leaf.shape) * 0.1
            case 'kernel' | 'classifier':
                value = rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
            case 'weight_ih' | 'weight_hh':
                value = rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[1])
            case _:
                value = rng.normal(size=leaf.shape)
        values[path] = jnp.asarray(value, dtype)
    return traverse_util.unflatten_dict(values)


@functools.partial(jax.jit, static_argnums=(0, 3), compiler_options=QUICKLY)
def apply(model, v, x, train=False):
    return model.apply(v, x, train=train, mutable=['batch_stats'])


def named(out):
    """Everything that the network returns, by name."""
    streams = {f'{name}/{k}': v for name, s in out.streams.items() for k, v in vars(s).items()}
    return streams | out.extras


@pytest.mark.slow
@pytest.mark.parametrize('released', [False, True])
def test_the_whole_network_and_its_gradients_are_pytorchs(released):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_stmn as oracle

    rng = np.random.default_rng(9)
    with jax.enable_x64(True):
        model, x = model_of(jnp.float64, **(RELEASED if released else {})), clips(np.float64)
        v = random_variables(model, x, np.float64)
        shapes = named(jax.eval_shape(functools.partial(model.apply, train=False), v, x))
        # Not the figures, which the training never differentiates.
        weights = {k: rng.normal(size=s.shape) for k, s in shapes.items() if k != 'refinement'}

        @functools.partial(jax.jit, compiler_options=QUICKLY)
        @functools.partial(jax.value_and_grad, has_aux=True)
        def ours(params):
            out, new = model.apply({**v, 'params': params}, x, train=True, mutable=['batch_stats'])
            value = sum((named(out)[k] * w).sum() for k, w in weights.items())
            return value, (named(out), new['batch_stats'])

        (_, (outputs, stats)), grads = ours(v['params'])
        tested, _ = apply(model, v, x)

    def tensors(tree, grad=False):
        flat = traverse_util.flatten_dict(tree, sep='/')
        return {k: torch.tensor(np.asarray(a), requires_grad=grad) for k, a in flat.items()}

    p, torch_stats = tensors(v['params'], True), tensors(v['batch_stats'])
    frozen = {k: a for k, a in torch_stats.items() if k.endswith('bias')}
    settings = {'depths': model.backbone.depths, 'strides': model.backbone.strides, 'released': released}
    pixels = torch.tensor(x).movedim(-1, 2)
    with torch.no_grad():
        expected = oracle.forward(p | frozen, torch_stats, pixels, train=False, **settings)
    for k, value in named(tested).items():
        np.testing.assert_allclose(value, expected[k], rtol=1e-7, atol=1e-9, err_msg=f'{k}, test')
    np.testing.assert_array_equal(tested.embedding, tested.streams['temporal'].embedding)

    expected = oracle.forward(p | frozen, torch_stats, pixels, train=True, **settings)
    assert expected.keys() == outputs.keys()
    for k, value in outputs.items():
        np.testing.assert_allclose(value, expected[k].detach(), rtol=1e-6, atol=1e-8, err_msg=k)
    for k, value in traverse_util.flatten_dict(stats, sep='/').items():
        if k.endswith('mean'):  # the variances differ by n / (n - 1)
            np.testing.assert_allclose(value, torch_stats[k], rtol=1e-7, atol=1e-9, err_msg=k)
    sum((expected[k] * torch.tensor(w)).sum() for k, w in weights.items()).backward()
    flat = traverse_util.flatten_dict(grads, sep='/')
    assert flat.keys() == p.keys()
    for k, grad in flat.items():
        # Without the stem's ReLU the next BNs take its shift away again.
        scale = 1e-3 if released and k == 'stem/bn1/bias' else np.abs(p[k].grad.numpy()).max()
        assert scale > 1e-6, k
        np.testing.assert_allclose(grad, p[k].grad, rtol=1e-6, atol=1e-7 * scale, err_msg=k)


# Variant of Table 1 by (spatial memory, temporal weights): trainable parameters with 625 identities.
COUNTS = {
    (False, 'off'): 24_790_080,
    (True, 'off'): 39_799_872,
    (False, 'memory'): 74_617_950,
    (True, 'memory'): 89_627_742,
    (True, 'mlp'): 89_627_742,
}


def full_size(num_ids=625, **settings):
    model = stmn.Stmn(
        backbone=config.Backbone(block='c2d', frame_pool='avg'),
        stmn=config.Stmn(**settings),
        head=config.Head(kind='b'),
        frames=6,
        num_ids=num_ids,
    )
    x = jax.ShapeDtypeStruct((1, 6, 256, 128, 3), jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)['params']


def count(tree):
    return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(('sm', 'tm'), COUNTS)
def test_the_variants_of_table_1_have_the_published_parameter_counts(sm, tm):
    assert count(full_size(sm=sm, tm=tm)) == COUNTS[sm, tm]


@pytest.mark.parametrize(('num_ids', 'expected'), [(702, 89_943_134), (842, 90_516_574)])
def test_the_full_network_has_the_published_counts_on_the_other_datasets(num_ids, expected):
    params = full_size(num_ids)
    assert count(params) == expected
    parts = {k: count(v) for k, v in params.items()}
    assert parts['layer4'] == parts['layer4_spatial'] == parts['layer4_temporal'] == 14_964_736
    assert parts['spatial_memory'] == 45_056
    assert parts['temporal_memory'] - count(params['temporal_memory']['lstm']) == 10_270
    assert count(params['temporal_memory']['lstm']) == 33_570_816
    assert parts['head_spatial'] == parts['head_temporal'] == 2048 * (num_ids + 1)


MEMORIES = [(sm, tm) for sm in (False, True) for tm in ('off', 'memory', 'mlp')]


@pytest.mark.parametrize(('sm', 'tm'), MEMORIES)
def test_only_what_a_variant_reads_is_built_and_returned(sm, tm):
    model = model_of(sm=sm, tm=tm)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), clips())
    out = jax.eval_shape(functools.partial(model.apply, train=False), shapes, clips())
    always = {'stem', 'layer1', 'layer2', 'layer3', 'layer4', 'head_spatial'}
    spatial = {'layer4_spatial', 'spatial_memory'} if sm else set()
    temporal = {
        'off': set(),
        'memory': {'layer4_temporal', 'temporal_memory', 'head_temporal'},
        'mlp': {'layer4_temporal', 'temporal_mlp', 'head_temporal'},
    }[tm]
    assert set(shapes['params']) == always | spatial | temporal

    expected = {'feature_unrefined': (B, D)}
    if sm:
        expected |= {'spatial_match': (B, L, 4, 2, 4), 'refinement': (B, L, 4, 2)}
    if tm != 'off':
        expected |= {'frame_weights': (B, L)}
    if tm == 'memory':
        expected |= {'temporal_match': (B, 2)}
    assert {k: v.shape for k, v in out.extras.items()} == expected
    assert list(out.streams) == ([] if tm == 'off' else ['spatial', 'temporal'])
    for stream in (out, *out.streams.values()):
        assert (stream.embedding.shape, stream.embedding_before_neck.shape) == ((B, D), (B, D))
        assert stream.logits.shape == (B, NUM_IDS)


@pytest.fixture(scope='module')
def full():
    model = model_of()
    return model, random_variables(model, clips())


def test_without_temporal_weights_the_feature_is_the_neck_of_the_mean_frame(full):
    _, v = full
    model = model_of(tm='off')
    out, _ = apply(model, v, clips())
    neck = {**v['params']['head_spatial']['neck'], **v['batch_stats']['head_spatial']['neck']}
    expected = (out.embedding_before_neck - neck['mean'][None]) * (neck['scale'] / np.sqrt(neck['var'] + 1e-5))[None]
    expected = expected + neck['bias'][None]
    np.testing.assert_allclose(out.embedding, expected, rtol=1e-4, atol=1e-5)
    logits = expected @ v['params']['head_spatial']['classifier']
    np.testing.assert_allclose(out.logits, logits, rtol=1e-4, atol=1e-5)


def test_the_clip_feature_lies_between_its_frames(full):
    model, v = full
    x = clips()
    out, _ = apply(model, v, x)
    weights = out.extras['frame_weights']
    assert weights.min() > 0
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    # A clip of one repeated frame has that frame's feature.
    singles = [apply(model, v, np.repeat(x[:, [i]], L, 1))[0].embedding_before_neck for i in range(L)]
    frames = np.stack(singles, 1)
    np.testing.assert_allclose(out.embedding_before_neck, (weights[..., None] * frames).sum(1), rtol=1e-3, atol=1e-4)


def test_equal_values_give_the_temporal_mean(full):
    model, v = full
    v = {
        **v,
        'params': v['params'] | {'temporal_memory': v['params']['temporal_memory'] | {'values': jnp.ones((2, L))}},
    }
    out, _ = apply(model, v, clips())
    mean = out.streams['spatial'].embedding_before_neck
    np.testing.assert_allclose(out.embedding_before_neck, mean, rtol=1e-5, atol=1e-6)


def test_the_order_of_the_frames_moves_the_temporal_match_only(full):
    model, v = full
    out, _ = apply(model, v, clips())
    reverse, _ = apply(model, v, clips()[:, ::-1])
    assert np.abs(out.extras['temporal_match'] - reverse.extras['temporal_match']).max() > 1e-5
    np.testing.assert_allclose(
        out.streams['spatial'].embedding, reverse.streams['spatial'].embedding, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        out.extras['spatial_match'], reverse.extras['spatial_match'][:, ::-1], rtol=1e-3, atol=1e-5
    )


def test_at_first_the_spatial_memory_refines_nothing(full):
    model, v = full
    norm = jax.tree.map(jnp.zeros_like, v['params']['spatial_memory']['norm'])
    v = {**v, 'params': v['params'] | {'spatial_memory': v['params']['spatial_memory'] | {'norm': norm}}}
    out, _ = apply(model, v, clips())
    np.testing.assert_array_equal(out.extras['refinement'], 0)
    np.testing.assert_allclose(out.extras['feature_unrefined'], out.streams['spatial'].embedding_before_neck, rtol=1e-5)


def test_queries_may_be_negative_and_the_person_map_may_not(full):
    model, v = full
    call = functools.partial(model.apply, train=False, capture_intermediates=True)
    _, seen = jax.jit(call, compiler_options=QUICKLY)(v, clips())
    maps = {k: seen['intermediates'][k]['__call__'][0][0] for k in ('layer4', 'layer4_spatial', 'layer4_temporal')}
    assert maps['layer4'].min() == 0
    assert maps['layer4_spatial'].min() < 0
    assert maps['layer4_temporal'].min() < 0


def test_half_precision_activations_give_float32_results():
    model = model_of(jnp.bfloat16)
    x = clips().astype(jnp.bfloat16)
    v = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)
    out = jax.eval_shape(functools.partial(model.apply, train=False), v, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((v, out))} == {jnp.dtype('float32')}


@pytest.mark.parametrize('tm', ['memory', 'mlp'])
def test_clips_of_another_length_are_refused(tm):
    model = model_of(tm=tm)
    with pytest.raises(ValueError, match='clips of 4 frames, but the temporal weights are made for exactly 3'):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), clips(frames=4))


def test_without_temporal_weights_clips_may_have_any_length(full):
    _, v = full
    out, _ = apply(model_of(tm='off'), v, clips(frames=2))
    assert out.embedding.shape == (B, D)


def test_unknown_temporal_weights_are_refused():
    with pytest.raises(ValueError, match=r"stmn\.tm = 'gru'"):
        jax.eval_shape(functools.partial(model_of(tm='gru').init, train=False), jax.random.key(0), clips())
