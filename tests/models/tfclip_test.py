"""TF-CLIP against PyTorch, its sizes and costs, its parts, and what its checkpoints hold."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from configs import tfclip_mars
from jaxreid import config, sharding, summary
from jaxreid.layers.transformer import ssp
from jaxreid.losses import objective
from jaxreid.models import build, cost
from jaxreid.training import step
from jaxreid.weights import export_torch, import_torch, state_file, torch_names
from tests.fixtures import random_network, torch_gradients

NUM_IDS, B, T = 3, 4, 2
LABELS = np.array([2, 2, 0, 0])
CAMERAS = np.array([1, 2, 2, 3])
# 64 channels a head, as the import reads them.
SIZES = {'width': 64, 'depth': 2, 'patch': 4, 'projection': 64}


def settings(variant='table2_full', **changes):
    e = tfclip_mars.get_config(variant)
    e.vit = config.Vit(heads=1, **SIZES)
    e.data.height, e.data.width, e.data.num_ids, e.backbone.init = 16, 8, NUM_IDS, 'random'
    e.sampler.num_ids, e.sampler.tracklets_per_id, e.sampler.frames, e.test.frames = 2, 2, T, T
    e.tfclip.cameras, e.tfclip.dropout = min(e.tfclip.cameras, 3), 0.0
    for path, value in changes.items():
        section, _, field = path.partition('__')
        setattr(getattr(e, section), field, value)
    return config.validate(e)


def built(e, dtype='float32'):
    model = build.build(e, num_ids=NUM_IDS, dtype=jnp.dtype(dtype))
    shapes = cost.shapes(model, frames=T, height=e.data.height, width=e.data.width)
    return model, random_network.variables(shapes, np.float64 if dtype == 'float64' else np.float32)


def clips(dtype=np.float32, b=B, t=T):
    return np.random.default_rng(3).normal(size=(b, t, 16, 8, 3)).astype(dtype)


@functools.cache
def theirs():
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_tfclip, torch_vit

    net = torch_tfclip.TfClip(num_ids=NUM_IDS, cameras=3, heads=1, ssp_heads=1, grid=(4, 2), **SIZES)
    return torch_vit.shaken(net.to(torch.float64))


@pytest.mark.slow
def test_features_logits_loss_and_gradients_are_those_of_pytorch():
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_tfclip

    with jax.enable_x64(True):
        e, net, x = settings(), theirs(), clips(np.float64)
        model, variables = built(e, 'float64')
        names = torch_names.published(e)
        flat = traverse_util.flatten_dict(variables)
        state = net.state_dict()
        for name, entry in names.items():
            flat[entry.path] = jnp.asarray(torch_names.to_ours(state[name].numpy(), entry))
        variables = traverse_util.unflatten_dict(flat)

        def loss(params):
            out, _ = model.apply(
                {**variables, 'params': params}, x, cameras=CAMERAS, train=True, mutable=['batch_stats']
            )
            value, metrics = objective.objective(
                out, LABELS, e, index=np.arange(B), key=jax.random.key(0), axis_name=None
            )
            return value, (out, metrics)

        (value, (out, metrics)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])
        net.train().zero_grad()
        memory = torch.tensor(np.asarray(variables['batch_stats']['memory']))
        expected = net(torch.tensor(x).permute(0, 1, 4, 2, 3), torch.tensor(CAMERAS - 1), memory)
        total = torch_tfclip.loss(expected, torch.tensor(LABELS))
        total.backward()

        feature = torch.cat(expected['features'], dim=1).detach()
        np.testing.assert_allclose(out.embedding, feature, rtol=1e-5, atol=1e-5)
        for name, stream in out.streams.items():
            np.testing.assert_allclose(stream.logits, expected[name].detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out.extras['memory_logits'], expected['memory'].detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out.extras['frame_logits'], expected['frames'].detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(value, total.detach(), rtol=1e-5)
        own = metrics['memory_contrast'] + metrics['frame_identity'] / T
        np.testing.assert_allclose(value, 0.25 * metrics['cross_entropy'] + metrics['triplet'] + own, rtol=1e-9)
        frozen = {name for name, entry in names.items() if entry.path[0] == 'batch_stats'}
        for name, parameter in net.named_parameters():
            if name in frozen:
                parameter.grad = None
        torch_gradients.check(grads, net, names, skip=1, missing=frozen)


@pytest.fixture(scope='module')
def full():
    """The network of the paper on MARS: shapes only."""
    e = config.validate(tfclip_mars.get_config())
    return e, cost.shapes(build.build(e, num_ids=625, dtype='float32'), frames=1, height=256, width=128)


def test_parameters_are_counted_exactly(full):
    e, shapes = full
    total, parts = cost.parameters(shapes)
    assert parts['visual'] == 86_140_416
    assert parts['tmd'] == 10_042_368
    stats = {k: v.shape for k, v in traverse_util.flatten_dict(shapes['batch_stats'], sep='/').items()}
    unused = {name: np.prod(shape) for name, shape in stats.items() if 'unused' in name}
    # What the released code saves in SSP and never reads is no parameter of ours.
    assert parts['ssp'] + sum(n for name, n in unused.items() if 'classifier' not in name) == 9_195_520
    assert parts['visual'] + parts['tmd'] + parts['cameras'] == 96_187_392
    shifts = sum(np.prod(shape) for name, shape in stats.items() if name.endswith('bias') and 'unused' not in name)
    assert total + sum(unused.values()) + shifts == 107_148_544
    named = {name: shapes[entry.path[0]] for name, entry in torch_names.published(e).items()}
    assert len(named) + 4 == 254  # four counters of batches


def test_multiply_accumulates_of_tmd_and_ssp_are_the_published_ones():
    size = {'frames': 8, 'height': 256, 'width': 128}

    def of(variant):
        model = build.build(tfclip_mars.get_config(variant), num_ids=625, dtype='float32')
        return cost.gmacs_per_frame(model, cost.shapes(model, **size), **size)

    mean, diffused = of('mean'), of('table2_tmd')
    assert mean == pytest.approx(11.390, abs=5e-4)
    assert diffused - mean == pytest.approx(0.949, abs=2e-3)
    module = ssp.Ssp()
    inputs = [jnp.zeros(s) for s in ((625, 512), (1, 129, 512))]
    variables = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, None), *inputs)
    traced = jax.make_jaxpr(lambda v, *x: module.apply(v, *x, None))(variables, *inputs)
    assert cost.macs(traced.jaxpr) / 1e9 == pytest.approx(6.05, abs=5e-3)


@functools.partial(jax.jit, static_argnums=0)
def outputs(model, variables, x, cameras):
    return model.apply(variables, x, train=False, cameras=cameras)


@pytest.mark.parametrize(
    ('variant', 'parts'),
    [
        ('mean', {'visual', 'cameras', 'head_token', 'head_projected'}),
        ('table2_memory', {'visual', 'cameras', 'head_token', 'head_projected'}),
        ('table2_ssp', {'visual', 'cameras', 'head_token', 'head_projected', 'ssp'}),
        ('no_cameras', None),
    ],
)
def test_a_row_has_the_parts_of_its_name(variant, parts):
    e = settings(variant)
    model = build.build(e, num_ids=NUM_IDS, dtype='float32')
    shapes = cost.shapes(model, frames=T, height=16, width=8)
    if parts is None:
        assert 'cameras' not in shapes['params']
    else:
        assert shapes['params'].keys() == parts
    assert ('memory' in shapes['batch_stats']) == (variant != 'mean')


def test_a_camera_changes_the_feature_and_its_number_counts_from_one():
    model, variables = built(settings('mean'))
    variables['params']['cameras'] *= 10
    x = clips()
    first, second, none = (outputs(model, variables, x, c).embedding for c in (np.full(B, 1), np.full(B, 2), None))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(outputs(model, variables, x, np.full(B, 4)).embedding, first)  # of three cameras
    variables['params']['cameras'] = variables['params']['cameras'].at[0].set(0)
    np.testing.assert_allclose(outputs(model, variables, x, np.full(B, 1)).embedding, none, atol=1e-6)


def test_what_the_settings_say_decides_whether_batches_hold_cameras():
    for variant, at_training, at_test in (('table2_full', True, True), ('no_cameras_at_test', True, False)):
        e = tfclip_mars.get_config(variant)
        assert (config.with_cameras(e, train=True), config.with_cameras(e, train=False)) == (at_training, at_test)
    assert not config.with_cameras(tfclip_mars.get_config('no_cameras'), train=True)
    assert not config.with_cameras(config.Experiment(), train=True)


def test_dropout_is_of_the_clip_and_not_of_its_place_on_a_device():
    x = np.ones((4, 50, 20), np.float32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(4))
    dropped = np.asarray(ssp.dropout(x, keys, rate=0.1, number=3))
    np.testing.assert_array_equal(np.unique(dropped), np.float32([0, 1 / 0.9]))
    assert 0.87 < (dropped > 0).mean() < 0.93
    np.testing.assert_array_equal(ssp.dropout(x[2:], keys[2:], rate=0.1, number=3), dropped[2:])
    assert (np.asarray(ssp.dropout(x, keys, rate=0.1, number=4)) != dropped).any()
    assert ssp.dropout(x, None, rate=0.1, number=3) is x


def test_a_state_dict_of_random_numbers_comes_in_without_a_leftover_and_goes_out_as_it_was(tmp_path):
    rng = np.random.default_rng(5)
    state = {f'module.{name}': rng.normal(size=v.shape).astype(np.float32) for name, v in theirs().state_dict().items()}
    file = tmp_path / 'tfclip.safetensors'
    safetensors.numpy.save_file(state, file)
    e, model, variables = import_torch.imported(file, 'tfclip')
    assert (e.data.height, e.data.width, e.vit.heads, e.tfclip.cameras, e.data.num_ids) == (16, 8, 1, 3, NUM_IDS)
    back = export_torch.state_dict(variables, e)
    assert back.keys() == {name.removeprefix('module.') for name in state}
    for name, value in back.items():
        if not name.endswith(torch_names.COUNTER):
            np.testing.assert_array_equal(value, state[f'module.{name}'])
    assert np.isfinite(outputs(model, jax.tree.map(jnp.abs, variables), clips(), CAMERAS).embedding).all()

    safetensors.numpy.save_file(state | {'SAT.ln.weight': np.zeros(2, np.float32)}, file)
    with pytest.raises(state_file.WeightsError, match='older architecture'):
        import_torch.imported(file, 'tfclip')


def gradient(e, variables, devices):
    mesh = sharding.make_mesh(jax.devices()[:devices])
    model = build.build(e, num_ids=NUM_IDS, dtype=jnp.float64, axis_name=sharding.AXIS)
    one_step = step.make_gradient(model, e, axis_name=sharding.AXIS)
    specs = sharding.COPIED, sharding.COPIED, sharding.SPLIT
    mapped = jax.shard_map(
        lambda p, s, b: one_step(p, s, jax.random.key(7), b), mesh=mesh, in_specs=specs, out_specs=sharding.COPIED
    )
    made = {
        'clips': np.random.default_rng(0).integers(0, 256, (B, T, 16, 8, 3), np.uint8),
        'labels': LABELS.astype(np.int32), 'index': np.arange(B, dtype=np.int32), 'cameras': CAMERAS.astype(np.int32),
    }  # fmt: skip
    copied = sharding.copy_to_all(variables, mesh)
    arguments = copied['params'], copied['batch_stats'], sharding.shard_batch(made, mesh)
    # Unoptimised programs compile in a third of the time.
    compiled = jax.jit(mapped).lower(*arguments).compile(compiler_options={'xla_backend_optimization_level': '0'})
    return jax.device_get(compiled(*arguments))


@pytest.mark.slow
def test_four_devices_give_gradient_statistics_and_metrics_of_one_with_dropout():
    with jax.enable_x64(True):
        e = settings(tfclip__dropout=0.3, train__compute_dtype='float64')
        e.vit.depth = 1
        _, variables = built(e, 'float64')
        one, many = (gradient(e, jax.device_get(variables), devices) for devices in (1, 4))
    names, found = zip(*jax.tree_util.tree_leaves_with_path(many), strict=True)
    for name, a, b in zip(names, found, jax.tree.leaves(one), strict=True):
        # The softmax of attention is in float32.
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b) + 1e-7, jax.tree_util.keystr(name)
    assert {'memory_contrast', 'frame_identity', 'triplet/tmd'} <= one[2].keys()


def test_the_summary_tells_parts_and_cost_of_the_small_network():
    e = importlib.import_module('configs.tfclip_synthetic').get_config('tiny')
    found = summary.compute(e)
    assert found['parameters_by_part'].keys() == {
        'visual', 'cameras', 'head_token', 'head_projected', 'tmd', 'neck_tmd', 'neck_tmd_frames', 'classifier_tmd',
        'ssp',
    }  # fmt: skip


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'tfclip__memory': False}, 'set tfclip.memory=true'),
        ({'vit__heads': 3}, 'does not divide vit.width'),
        ({'data__height': 18}, 'do not split into patches'),
        ({'backbone__init': 'imagenet'}, 'set it to clip'),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(config.ConfigError, match=said):
        settings(**changes)
