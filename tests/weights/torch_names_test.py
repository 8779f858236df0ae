import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.weights import torch_names


def test_resnet50_has_the_53_convolutions_and_normalisations_of_torchvision():
    names = torch_names.resnet((3, 4, 6, 3))
    assert len(names) == 53 * 5
    assert names['layer3.5.conv2.weight'] == (('params', 'layer3', 'block5', 'conv2', 'kernel'), 'oihw', 'hwio')
    path = ('batch_stats', 'layer4', 'block0', 'downsample_bn', 'var')
    assert names['layer4.0.downsample.1.running_var'].path == path


def test_every_variable_of_c2d_but_the_head_has_one_name():
    e = config.Experiment(backbone=config.Backbone(block='c2d'), strf=config.Strf(stages=()))
    model = build.build(e, num_ids=3, dtype=jnp.float32)
    shapes = cost.shapes(model, frames=1, height=32, width=16)
    paths = {p for p in traverse_util.flatten_dict(jax.tree.map(lambda s: s.shape, shapes)) if p[1] != 'head'}
    ours = [entry.path for entry in torch_names.resnet((3, 4, 6, 3)).values()]
    assert set(ours) == paths
    assert len(ours) == len(paths)


@pytest.mark.parametrize(
    'changes',
    [
        {'backbone.block': 'p3db'},
        {'backbone.block': 'i3d', 'strf.branches': ('s_tau',), 'head.kind': 'b'},
        {'backbone.block': 'p3dc', 'strf.stages': (1, 2), 'strf.fam': 'none_gram', 'head.kind': 'plain'},
        {'backbone.block': 'ap3d_c', 'strf.stages': (), 'ap3d.contrastive': False, 'nonlocal_blocks.stage3': (0, 2)},
        {'system': 'stmn'},
        {'system': 'stmn', 'stmn.sm': False},
        {'system': 'stmn', 'stmn.tm': 'off'},
        {'system': 'sinet'},
        {'system': 'sinet', 'sinet.idm': (2,), 'sinet.sbm': (), 'sinet.contrast_weight': 0.0},
    ],
    ids=str,
)
def test_names_cover_every_variable_once_and_shapes_return(changes):
    e = config.Experiment()
    if 'system' in changes:
        e.backbone.block, e.strf.stages, e.head.kind = 'c2d', (), 'b'
    for name, value in changes.items():
        node, _, field = name.rpartition('.')
        setattr(getattr(e, node) if node else e, field, value)
    model = build.build(e, num_ids=3, dtype=jnp.float32)
    shapes = traverse_util.flatten_dict(cost.shapes(model, frames=e.sampler.frames, height=48, width=48))
    names = torch_names.published(e)
    assert sorted(entry.path for entry in names.values()) == sorted(shapes)
    rng = np.random.default_rng(0)
    for name, entry in names.items():
        shape = shapes[entry.path].shape
        if np.prod(shape) < 10_000:
            value = rng.normal(size=shape)
            theirs = torch_names.to_theirs(value, entry)
            assert theirs.shape == torch_names.their_shape(shape, entry), name
            np.testing.assert_array_equal(torch_names.to_ours(theirs, entry), value)


def test_an_array_with_other_axes_is_refused():
    entry = torch_names.Entry(('params', 'kernel'), 'oi1hw', 'hwio')
    assert torch_names.to_ours(np.zeros((4, 3, 3, 5, 5)), entry) is None
    assert torch_names.to_ours(np.zeros((4, 3, 5, 5)), entry) is None
    assert torch_names.to_ours(np.zeros((4, 3, 1, 5, 6)), entry).shape == (5, 6, 3, 4)
