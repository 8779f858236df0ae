"""Loss and gradient of every system over eight devices are those of one, its own term included.

The processes and stores of a whole run are in tests/integration/devices_test.py; here are the systems' sums over the
global batch: streams, memory spread, inter-frame and pyramid terms, synchronised BatchNorm inside memories and heads.
"""

import importlib

import jax
import numpy as np
import pytest

from jaxreid import config, sharding
from jaxreid.models import build
from jaxreid.training import step

pytestmark = pytest.mark.slow

IDS, TRACKLETS, NUM_IDS = 4, 4, 6


def small(system, changes):
    """The tiny benchmark's settings of a system, narrower, with draws of every kind."""
    e = importlib.import_module(f'configs.{system}_synthetic').get_config('tiny')
    e.backbone.width, e.data.height, e.data.width = 4, 32, 16
    e.sampler.num_ids, e.sampler.tracklets_per_id, e.sampler.frames, e.test.frames = IDS, TRACKLETS, 3, 3
    e.augment.erase, e.augment.translate_px = 0.5, 1
    e.star.hidden, e.star.attention_reduction, e.sta.dim = 4, 2, 8
    e.star.pyramid_levels = (1, 2)  # of the two rows that are left
    for path, value in changes.items():
        section, field = path.split('.')
        setattr(getattr(e, section), field, value)
    return config.validate(e)


def batch(e, seed=0):
    """A random batch as a pipeline gives it."""
    rng = np.random.default_rng(seed)
    size = (IDS * TRACKLETS, e.sampler.frames, e.data.height, e.data.width)
    made = {
        'clips': rng.integers(0, 256, (*size, 3), np.uint8),
        'labels': np.repeat(rng.permutation(NUM_IDS)[:IDS], TRACKLETS).astype(np.int32),
        'index': np.arange(IDS * TRACKLETS, dtype=np.int32),
    }
    if e.data.flow != 'off':
        made['flow'] = rng.normal(0, 8, (*size, 2)).astype(np.float16)
    return made


def gradient(e, variables, devices):
    """Gradient, statistics and metrics of the first step on so many devices."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    dtype = step.compute_dtype(e.train.compute_dtype)
    model = build.build(e, num_ids=NUM_IDS, dtype=dtype, axis_name=sharding.AXIS)
    one_step = step.make_gradient(model, e, axis_name=sharding.AXIS)
    mapped = jax.jit(
        jax.shard_map(
            lambda p, s, b: one_step(p, s, jax.random.key(7), b),
            mesh=mesh,
            in_specs=(sharding.COPIED, sharding.COPIED, sharding.SPLIT),
            out_specs=sharding.COPIED,
        )
    )
    copied = sharding.copy_to_all(variables, mesh)
    arguments = copied['params'], copied['batch_stats'], sharding.shard_batch(batch(e), mesh)
    # Unoptimised programs compile in a third of the time.
    compiled = mapped.lower(*arguments).compile(compiler_options={'xla_backend_optimization_level': '0'})
    return jax.device_get(compiled(*arguments))


SYSTEMS = {
    'stmn': ('stmn', {}, {'memory_spread', 'triplet/spatial', 'triplet/temporal'}),
    'sta': ('sta', {}, {'frame_consistency'}),
    'star': ('star', {}, {'pyramid_ranking'}),
    'sinet': ('sinet', {'sampler.frames': 4, 'test.frames': 4, 'backbone.strides': (1, 1, 1, 1)}, {'frame_contrast'}),
    'tfclip': (
        'tfclip',
        {'vit.width': 16, 'vit.depth': 1, 'vit.heads': 2, 'vit.projection': 8},
        {'memory_contrast', 'frame_identity', 'triplet/tmd'},
    ),
}


@pytest.mark.parametrize(('system', 'changes', 'terms'), SYSTEMS.values(), ids=SYSTEMS)
def test_eight_devices_give_gradient_statistics_and_metrics_of_one(system, changes, terms):
    with jax.enable_x64(True):
        e = small(system, changes | {'train.compute_dtype': 'float64'})
        model = build.build(e, num_ids=NUM_IDS, dtype=np.dtype('float64'))
        variables = jax.device_get(step.init_variables(model, e, jax.random.key(3)))
        # Away from the start, where memories and temporal convolutions are switched off by zeros.
        rng = np.random.default_rng(1)
        variables['params'] = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape), variables['params'])
        one, many = (gradient(e, variables, devices) for devices in (1, 8))
    metrics = one[2]
    assert terms <= metrics.keys()
    assert all(metrics[t] > 0 for t in terms)
    weights = {'memory_spread': 1, 'frame_consistency': e.sta.reg_lambda, 'pyramid_ranking': e.star.pyramid_weight}
    weights |= {'frame_contrast': e.sinet.contrast_weight, 'memory_contrast': 1, 'frame_identity': 1 / e.sampler.frames}
    own = sum(weights[t] * metrics[t] for t in weights.keys() & metrics.keys())
    np.testing.assert_allclose(metrics['loss'], metrics['cross_entropy'] + metrics['triplet'] + own, rtol=1e-12)
    # dot_product_attention has its softmax in float32, whatever it is given.
    rtol, atol = (1e-6, 1e-7) if system == 'tfclip' else (1e-9, 1e-12)
    names, ours = zip(*jax.tree_util.tree_leaves_with_path(many))
    for name, a, b in zip(names, ours, jax.tree.leaves(one), strict=True):
        assert a.dtype == np.float64
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(b) + atol, jax.tree_util.keystr(name)
    gradients = jax.tree.leaves(one[0])
    assert np.mean([np.linalg.norm(g) > 0 for g in gradients]) > 0.9
