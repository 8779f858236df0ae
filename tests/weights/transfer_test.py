import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.training import checkpoint
from jaxreid.weights import export_torch, rendered, start, state_file

IDS = 5
HEAD = ('head', 'classifier'), ('head', 'classifier_bias')  # of other people
SIZE = {'frames': 2, 'height': 64, 'width': 32}


def settings(system='baseline', block='c2d', *, stages=(), init='checkpoint', weights=''):
    backbone = config.Backbone(
        block=block, width=4, depths=(1, 2, 1, 1), frame_pool='avg', init=init, weights=str(weights)
    )
    strf = config.Strf(stages=stages, reduction=2)
    e = config.Experiment(system=system, backbone=backbone, strf=strf)
    e.sampler.frames, e.star.attention_reduction, e.star.hidden = SIZE['frames'], 4, 4
    return e


@functools.cache
def flat_variables(system, block='c2d', stages=(), num_ids=IDS, seed=0):
    """Random arrays in the shapes of a network, by path."""
    model = build.build(settings(system, block, stages=stages), num_ids=num_ids, dtype=jnp.float32)
    shapes = traverse_util.flatten_dict(cost.shapes(model, flow=system == 'star', **SIZE))
    rng = np.random.default_rng(seed)
    return {path: rng.normal(size=s.shape).astype(np.float32) for path, s in shapes.items()}


def variables(*args, **kwargs):
    return traverse_util.unflatten_dict(flat_variables(*args, **kwargs))


def saved(folder, tree, experiment, num_ids=IDS):
    meta = {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(num_ids)}}
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(7, jax.tree.map(jnp.asarray, tree), meta)
    checkpoints.close()
    return folder


@pytest.fixture(scope='module')
def c2d(tmp_path_factory):
    """The workdir of a C2D, trained on other people."""
    return saved(tmp_path_factory.mktemp('c2d'), variables('baseline', num_ids=3, seed=1), settings(), num_ids=3)


def started(experiment, fresh):
    tree, said = start.initialise(traverse_util.unflatten_dict(fresh), experiment)
    return traverse_util.flatten_dict(tree), said


def test_units_and_temporal_kernels_start_afresh_and_the_classifier_of_other_people_too(c2d):
    fresh, given = flat_variables('baseline', 'p3dc', (2, 3)), flat_variables('baseline', num_ids=3, seed=1)
    after, said = started(settings('baseline', 'p3dc', stages=(2, 3), weights=c2d), fresh)
    anew = {path for path in fresh if path not in given or given[path].shape != fresh[path].shape}
    assert {path[-2] for path in anew} == {'temporal', 'strf', 'head'}
    assert not [
        path
        for path in anew
        if path[-1] not in ('kernel', 'classifier', 'classifier_bias', *config.choices('strf.branches'))
    ]
    for path, value in after.items():
        np.testing.assert_array_equal(value, fresh[path] if path in anew else given[path])
    assert said.startswith(f'{len(fresh) - len(anew)} of {len(fresh)} arrays from {c2d}; anew: ')
    for module in ('layer2/block0/temporal', 'layer3/block0/strf', 'head'):
        assert module in said
    assert "; it is another network:\n  config.backbone.block: 'c2d' before, 'p3dc' now\n  config.strf.stages" in said


def test_a_2d_kernel_is_the_centre_of_a_3d_one(c2d):
    fresh, given = flat_variables('baseline', 'i3d'), flat_variables('baseline', num_ids=3, seed=1)
    after, _ = started(settings('baseline', 'i3d', weights=c2d), fresh)
    kernel = after['params', 'layer2', 'block0', 'conv2', 'kernel']
    assert kernel.shape == (3, 3, 3, 8, 8)
    np.testing.assert_array_equal(kernel[1], given['params', 'layer2', 'block0', 'conv2', 'kernel'])
    assert not np.asarray(kernel[::2]).any()
    np.testing.assert_array_equal(
        after['params', 'layer2', 'block1', 'conv2', 'kernel'], given['params', 'layer2', 'block1', 'conv2', 'kernel']
    )


def test_query_heads_and_the_flow_stem_start_as_copies_unless_the_other_network_has_its_own(c2d, tmp_path):
    given = flat_variables('baseline', num_ids=3, seed=1)
    after, _ = started(settings('stmn', weights=c2d), flat_variables('stmn'))
    path = 'block0', 'conv2', 'kernel'
    for stage in ('layer4', 'layer4_spatial', 'layer4_temporal'):
        np.testing.assert_array_equal(after['params', stage, *path], given['params', 'layer4', *path])
    after, _ = started(settings('star', weights=c2d), flat_variables('star'))
    mean = given['params', 'stem', 'conv1', 'kernel'].mean(2)
    for channel in range(2):
        np.testing.assert_array_equal(after['params', 'flow_stem', 'conv1', 'kernel'][:, :, channel], mean)

    other = saved(tmp_path / 'star', variables('star', seed=2), settings('star'))
    after, said = started(settings('star', weights=other), flat_variables('star'))
    for path, value in flat_variables('star', seed=2).items():
        np.testing.assert_array_equal(after[path], value)
    assert 'anew' not in said


@pytest.mark.parametrize('to', [('baseline', 'p3dc', (2, 3)), ('baseline', 'i3d', ()), ('sta', 'c2d', ())], ids=str)
def test_a_file_of_the_exporter_starts_like_the_checkpoint(c2d, tmp_path, to):
    system, block, stages = to
    file = tmp_path / 'c2d.safetensors'
    safetensors.numpy.save_file(export_torch.state_dict(variables('baseline', num_ids=3, seed=1), settings()), file)
    fresh = flat_variables(*to)
    by_checkpoint, _ = started(settings(system, block, stages=stages, weights=c2d), fresh)
    by_file, _ = started(settings(system, block, stages=stages, weights=file), fresh)
    trunk = [path for path in fresh if path[1] not in ('head', 'fc')]
    for path in trunk:
        np.testing.assert_array_equal(by_file[path], by_checkpoint[path])


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'backbone.', 'module._orig_mod.backbone.module.'])
@pytest.mark.parametrize('wrappers', [[], ['model_state_dict'], ['model', 'state_dict']], ids=str)
def test_a_pytorch_file_starts_a_network_whatever_a_training_loop_wrote_before_its_names(tmp_path, prefix, wrappers):
    torch = pytest.importorskip('torch')
    tensors = export_torch.state_dict(variables('baseline', num_ids=3, seed=1), settings())
    saved = {f'{prefix}{name}': torch.tensor(array) for name, array in tensors.items()}
    for name in reversed(wrappers):
        saved = {name: saved, 'epoch': 7}
    torch.save(saved, tmp_path / 'theirs.pth')
    fresh, given = flat_variables('baseline'), flat_variables('baseline', num_ids=3, seed=1)
    after, said = started(settings(weights=tmp_path / 'theirs.pth'), fresh)
    assert said.endswith('; anew: head')
    for path, value in after.items():
        np.testing.assert_array_equal(value, (fresh if path[1:] in HEAD else given)[path])


def test_a_start_that_does_not_fit_or_is_not_there_is_refused(c2d, tmp_path):
    fresh = {path: np.zeros([n + 1 for n in value.shape]) for path, value in flat_variables('baseline').items()}
    with pytest.raises(state_file.WeightsError, match=r'no array that fits .* by name and shape .*init=random'):
        started(settings(weights=c2d), fresh)
    with pytest.raises(state_file.WeightsError, match='no checkpoint under'):
        started(settings(weights=tmp_path / 'nowhere'), flat_variables('baseline'))
    (tmp_path / checkpoint.EXPORTED).write_text('{}')
    with pytest.raises(state_file.WeightsError, match='name the checkpoint that it was made of'):
        started(settings(weights=tmp_path), flat_variables('baseline'))


@pytest.mark.parametrize(('init', 'weights'), [('checkpoint', ''), ('random', 'some'), ('rendered', 'some')])
def test_a_start_needs_its_weights_and_no_other(init, weights):
    e = settings(init=init, weights=weights)
    e.data.height = 64
    with pytest.raises(config.ConfigError, match='init=checkpoint needs'):
        config.validate(e)


def test_the_rendered_start_is_of_the_networks_own_size_and_lies_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    small, deep = (config.Experiment(backbone=config.Backbone(width=16, depths=(1, n, n, 1))) for n in (1, 2))
    assert rendered.folder(small).parent == tmp_path
    assert rendered.folder(small) != rendered.folder(deep)
    assert not rendered.is_trained(small)
    made = config.validate(rendered.experiment(deep))
    assert (made.backbone.block, made.backbone.depths, made.data.preset) == ('c2d', (1, 2, 2, 1), 'people')
    vit = config.Experiment(system='tfclip', vit=config.Vit(width=32, depth=2, heads=2, patch=8))
    vit.data.height, vit.data.width = 64, 32
    made = config.validate(rendered.experiment(vit))
    assert (made.system, made.vit, made.data.preset, made.tfclip.memory) == ('tfclip', vit.vit, 'people', False)
    assert rendered.folder(vit).name.startswith('vit_synthetic-')
