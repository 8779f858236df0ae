import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.models import bn_folding, build

FRAMES, HEIGHT, WIDTH = 2, 32, 16


def toy(system, **changes):
    e = config.Experiment(system=system)
    e.backbone = config.Backbone(
        width=4, depths=(1, 1, 1, 1), strides=(1, 2, 1, 1), init='random', block=changes.pop('block', 'c2d')
    )
    e.sampler.frames, e.data.height, e.data.width = FRAMES, HEIGHT, WIDTH
    e.strf.stages, e.strf.reduction, e.ap3d.reduction = changes.pop('strf', ()), 4, 4
    e.stmn.spatial_items, e.stmn.temporal_items, e.sta.dim, e.star.hidden, e.star.attention_reduction = 3, 2, 8, 8, 4
    e.sinet = config.Sinet(idm=(0,), sbm=(), reduction=4, contrast_weight=0.0)
    e.vit = config.Vit(width=8, depth=1, heads=2, patch=8, projection=6)
    e.star.gates = 'sigmoid'  # of random parameters: gates of up to 2 would raise activations 256-fold
    assert not changes
    return e


def drawn(model, inputs):
    """Variables with statistics, scales and shifts unlike those at the start."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, train=False))
    rng = np.random.default_rng(0)
    return jax.tree.map_with_path(
        lambda path, x: jnp.asarray(
            rng.uniform(0.5, 1.5, x.shape) if path[-1].key in ('scale', 'var') else rng.normal(0, 0.3, x.shape), x.dtype
        ),
        shapes,
    )


SYSTEMS = pytest.mark.parametrize(
    ('experiment', 'kept'),
    [
        (toy('baseline'), []),
        (toy('baseline', block='i3d', strf=(2, 3)), []),
        (toy('baseline', block='p3dc', strf=(2, 3)), ['layer2/block0/bn2', 'layer3/block0/bn2']),
        (toy('baseline', block='ap3d_a'), ['layer2/block0/bn2', 'layer3/block0/bn2']),
        (toy('stmn'), ['head_temporal/neck', 'spatial_memory/norm']),
        (toy('sta'), ['head/neck']),
        (toy('star'), []),
        (toy('sinet'), ['layer2/idm0/channel_norm', 'layer2/idm0/place_norm']),
        (toy('tfclip'), ['head_projected/neck', 'head_token/neck', 'neck_tmd', 'neck_tmd_frames']),
    ],
    ids=['c2d', 'strf_i3d', 'strf_p3dc', 'ap3d_a', 'stmn', 'sta', 'star', 'sinet', 'tfclip'],
)


def clips_for(experiment):
    rng = np.random.default_rng(1)
    inputs = [jnp.asarray(rng.normal(size=(2, FRAMES, HEIGHT, WIDTH, 3)), jnp.float32)]
    if experiment.system == 'star':
        inputs.append(jnp.asarray(rng.normal(size=(2, FRAMES, HEIGHT, WIDTH, 2)), jnp.float32))
    return inputs


@SYSTEMS
def test_folded_networks_give_the_same_features(experiment, kept):
    model = build.build(experiment, num_ids=3, dtype=jnp.float32)
    inputs = clips_for(experiment)
    variables = drawn(model, inputs)
    folded = bn_folding.fold(variables)

    left = {'/'.join(path[:-1]) for path in traverse_util.flatten_dict(folded['batch_stats'])}
    assert {'layer1/block0/bn1', 'stem/bn1', 'layer4/block0/downsample_bn'}.isdisjoint(left)
    assert left.issuperset(kept)
    apply = jax.jit(lambda v: model.apply(v, *inputs, train=False).embedding)
    expected, found = apply(variables), apply(folded)
    scale = float(jnp.abs(expected).max())
    assert scale > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.slow
@SYSTEMS
def test_folded_networks_in_float16_give_features_to_a_hundredth_and_finer_than_in_bfloat16(experiment, kept):
    del kept
    inputs = clips_for(experiment)
    model = build.build(experiment, num_ids=3, dtype=jnp.float32)
    folded = bn_folding.fold(drawn(model, inputs))

    def features(dtype):
        apply = jax.jit(lambda v: model.clone(dtype=jnp.dtype(dtype)).apply(v, *inputs, train=False).embedding)
        return np.asarray(apply(folded))

    expected = features('float32')
    half, brain = (
        np.linalg.norm(features(dtype) - expected, axis=1) / np.linalg.norm(expected, axis=1)
        for dtype in ('float16', 'bfloat16')
    )
    assert (half < 1e-2).all()
    assert half.max() < brain.max() / 2
