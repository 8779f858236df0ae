import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxreid import config, cost
from jaxreid.models import build
from jaxreid.weights import torch_names


def test_resnet50_has_the_53_convolutions_and_normalisations_of_torchvision():
    names = torch_names.resnet((3, 4, 6, 3))
    assert len(names) == 53 * 5
    assert names['layer3.5.conv2.weight'] == ('params', 'layer3', 'block5', 'conv2', 'kernel')
    assert names['layer4.0.downsample.1.running_var'] == ('batch_stats', 'layer4', 'block0', 'downsample_bn', 'var')


def test_every_variable_of_c2d_but_the_head_has_one_name():
    e = config.Experiment(backbone=config.Backbone(block='c2d'), strf=config.Strf(stages=()))
    model = build.build(e, num_ids=3, dtype=jnp.float32)
    shapes = cost.shapes(model, frames=1, height=32, width=16)
    paths = {p for p in traverse_util.flatten_dict(jax.tree.map(lambda s: s.shape, shapes)) if p[1] != 'head'}
    ours = list(torch_names.resnet((3, 4, 6, 3)).values())
    assert set(ours) == paths
    assert len(ours) == len(paths)
