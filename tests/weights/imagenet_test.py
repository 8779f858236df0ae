import builtins
import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.weights import imagenet, start, state_file

DEPTHS = (2, 1, 1, 1)


def torch_resnet(seed=0):
    """A narrow ResNet with torchvision's names and random weights and statistics."""
    torch = pytest.importorskip('torch')
    nn = torch.nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs, planes, stride, project):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * planes)
            if project:
                conv = nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * planes))

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return torch.relu(y + (self.downsample(x) if hasattr(self, 'downsample') else x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(4)
            self.pool = nn.MaxPool2d(3, 2, 1)
            inputs = 4
            for stage, (depth, stride) in enumerate(zip(DEPTHS, (1, 2, 2, 1), strict=True), start=1):
                planes = 4 * 2 ** (stage - 1)
                blocks = []
                for i in range(depth):
                    blocks.append(Bottleneck(inputs, planes, stride if i == 0 else 1, i == 0))
                    inputs = 4 * planes
                setattr(self, f'layer{stage}', nn.Sequential(*blocks))
            self.fc = nn.Linear(inputs, 7)

        def forward(self, x):
            x = self.pool(torch.relu(self.bn1(self.conv1(x))))
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    torch.manual_seed(seed)
    net = ResNet()
    with torch.no_grad():
        for name, buffer in [*net.named_parameters(), *net.named_buffers()]:
            if 'running_var' in name or ('weight' in name and buffer.ndim == 1):
                buffer.uniform_(0.7, 1.3)
            elif 'running_mean' in name or 'bias' in name:
                buffer.normal_(0, 0.1)
    return net.eval()


def settings(block='c2d', weights=''):
    return config.Experiment(
        backbone=config.Backbone(block=block, width=4, depths=DEPTHS, init='imagenet', weights=str(weights)),
        strf=config.Strf(stages=() if block == 'c2d' else (2, 3), reduction=4),
    )


@functools.cache
def fresh(block):
    model = build.build(settings(block), num_ids=5, dtype=jnp.float32)
    flat = traverse_util.flatten_dict(cost.shapes(model, frames=2, height=32, width=16))
    rng = np.random.default_rng(0)
    # As initialised: temporal convolutions are zero, and what has no ImageNet weights is random.
    values = {
        path: jnp.zeros(s.shape) if 'temporal' in path else jnp.asarray(0.1 * rng.normal(size=s.shape), s.dtype)
        for path, s in flat.items()
    }
    return model, traverse_util.unflatten_dict(values)


@pytest.fixture(scope='module')
def net():
    return torch_resnet()


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'weights'


def tensors(net):
    return {k: v.numpy() for k, v in net.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize('block', ['c2d', 'i3d', 'p3db', 'p3dc'])
def test_features_are_those_of_the_pytorch_network(net, block):
    import torch

    model, v = fresh(block)
    if block == 'i3d':  # a unit before I3D's convolution does change it
        e = settings(block)
        e.strf.stages = ()
        model = build.build(e, num_ids=5, dtype=jnp.float32)
    v = imagenet.fit(v, tensors(net), depths=DEPTHS, source='test')
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 16, 3)).astype(np.float32)
    with torch.no_grad():
        maps = net(torch.tensor(x.reshape(6, 32, 16, 3)).permute(0, 3, 1, 2))
        expected = maps.amax((2, 3)).reshape(2, 3, -1).mean(1)
    if block == 'i3d':
        v = traverse_util.unflatten_dict({k: a for k, a in traverse_util.flatten_dict(v).items() if 'strf' not in k})
    got = jax.jit(functools.partial(model.apply, train=False))(v, x).embedding_before_neck
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_pth_files_may_be_wrapped_and_prefixed_and_safetensors_need_no_pytorch(net, tmp_path, monkeypatch):
    import torch

    state = net.state_dict()
    torch.save(state, tmp_path / 'plain.pth')
    torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}, 'epoch': 3}, tmp_path / 'wrapped.pth')
    safetensors.numpy.save_file(tensors(net), tmp_path / 'same.safetensors')
    _, v = fresh('c2d')
    results = [imagenet.initialise(v, settings(weights=tmp_path / 'plain.pth').backbone)]
    results.append(imagenet.initialise(v, settings(weights=tmp_path / 'wrapped.pth').backbone))
    real_import = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name == 'torch':
            raise ImportError('no torch here')
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', no_torch)
    results.append(imagenet.initialise(v, settings(weights=tmp_path / 'same.safetensors').backbone))
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, results[0])
    assert not np.array_equal(results[0]['params']['stem']['conv1']['kernel'], v['params']['stem']['conv1']['kernel'])
    np.testing.assert_array_equal(results[0]['params']['head']['classifier'], v['params']['head']['classifier'])
    with pytest.raises(state_file.WeightsError, match=r"pip install 'jaxreid\[torch\]'"):
        imagenet.initialise(v, settings(weights=tmp_path / 'plain.pth').backbone)


def test_the_cache_is_looked_at_first(net, empty_cache):
    empty_cache.mkdir(parents=True)
    safetensors.numpy.save_file(tensors(net), empty_cache / 'resnet50.safetensors')
    assert imagenet.find('') == empty_cache / 'resnet50.safetensors'
    _, v = fresh('c2d')
    started = imagenet.initialise(v, settings().backbone)
    kernel = tensors(net)['conv1.weight'].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(started['params']['stem']['conv1']['kernel'], kernel)


def test_a_repository_is_fetched_from_the_hub(net, tmp_path, monkeypatch):
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        if name == 'model.safetensors':
            raise OSError('404: no such file\nmore lines')
        return str(tmp_path / 'pytorch_model.bin')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', download)
    for name in ('timm/resnet50.tv_in1k', 'hf:timm/resnet50.tv_in1k'):
        asked.clear()
        assert imagenet.find(name) == tmp_path / 'pytorch_model.bin'
        assert asked == [('timm/resnet50.tv_in1k', n) for n in ('model.safetensors', 'pytorch_model.bin')]


def test_an_unreachable_hub_says_what_to_place_where(empty_cache, monkeypatch):
    def fail(repository, name):
        raise ConnectionError('name resolution failed')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', fail)
    with pytest.raises(state_file.WeightsError) as caught:
        imagenet.find('timm/resnet50.tv_in1k')
    message = str(caught.value)
    for part in ('name resolution failed', str(empty_cache / 'resnet50.pth'), '--config.backbone.init=random'):
        assert part in message


def test_without_the_hub_s_library_the_message_names_the_extra(empty_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(state_file.WeightsError, match=r"pip install 'jaxreid\[hub\]'"):
        imagenet.find('timm/resnet50.tv_in1k')


def test_without_weights_the_message_says_what_to_place_where(empty_cache, monkeypatch):
    _, v = fresh('c2d')
    with pytest.raises(state_file.WeightsError) as caught:
        imagenet.initialise(v, settings().backbone)
    message = str(caught.value)
    for part in (
        str(empty_cache),
        'resnet50.safetensors',
        '--config.backbone.init=random',
        '--config.backbone.weights',
    ):
        assert part in message
    monkeypatch.setattr('huggingface_hub.hf_hub_download', lambda *asked: pytest.fail(f'asked for {asked}'))
    for file in ('/nowhere/resnet50.pth', 'weights/resnet50.pth'):  # the second could be a repository by its form
        with pytest.raises(state_file.WeightsError, match='there is no such file'):
            imagenet.find(file)


def test_the_default_cache_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv('JAXREID_CACHE')
    assert imagenet.cache_folder() == pathlib.Path.home() / '.cache' / 'jaxreid' / 'weights'


def test_a_random_start_leaves_everything_as_it_is():
    _, v = fresh('c2d')
    assert start.initialise(v, config.Experiment(backbone=config.Backbone(init='random'))) == (
        v,
        'random initialisation',
    )
    with pytest.raises(config.ConfigError, match='Valid: imagenet, clip, checkpoint, rendered, random'):
        start.initialise(v, config.Experiment(backbone=config.Backbone(init='zeros')))


def test_every_name_and_shape_that_does_not_fit_is_listed(net):
    _, v = fresh('p3dc')
    wrong = tensors(net)
    wrong['layer9.conv1.weight'] = np.zeros((2, 2))
    wrong['conv1.weight'] = np.zeros((4, 3, 5, 5))
    del wrong['layer3.0.bn2.running_mean']
    with pytest.raises(state_file.WeightsError) as caught:
        imagenet.fit(v, wrong, depths=DEPTHS, source='some.pth')
    message = str(caught.value)
    for part in (
        'some.pth does not fit',
        'layer9.conv1.weight: not in the model',
        'layer3.0.bn2.running_mean: not in the file',
        'conv1.weight: shape (4, 3, 5, 5) does not fit params/stem/conv1/kernel (7, 7, 3, 4)',
    ):
        assert part in message
    assert 'fc.' not in message


def test_every_copy_of_the_last_stage_starts_alike(net):
    e = config.Experiment(system='stmn', backbone=config.Backbone(block='c2d', width=4, depths=DEPTHS))
    shapes = cost.shapes(build.build(e, num_ids=5, dtype=jnp.float32), frames=4, height=32, width=16)
    v = imagenet.fit(jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes), tensors(net), depths=DEPTHS, source='')
    expected = tensors(net)['layer4.0.conv2.weight'].transpose(2, 3, 1, 0)
    for stage in ('layer4', 'layer4_spatial', 'layer4_temporal'):
        np.testing.assert_array_equal(v['params'][stage]['block0']['conv2']['kernel'], expected)
    assert (v['params']['spatial_memory']['keys'] == 1).all()


@pytest.mark.parametrize(('streams', 'channels'), [(('rgb', 'flow'), 2), (('flow',), 3)])
def test_the_stem_for_flow_starts_as_the_mean_over_colours(net, streams, channels):
    e = config.Experiment(system='star', backbone=config.Backbone(block='c2d', width=4, depths=DEPTHS))
    e.star = config.Star(streams=streams, flow_channels=channels, attention='off', aggregator='pool')
    e.head.kind = 'plain'
    model = build.build(e, num_ids=5, dtype=jnp.float32)
    shapes = cost.shapes(model, frames=2, height=64, width=32, flow=True)
    v = imagenet.fit(jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes), tensors(net), depths=DEPTHS, source='')
    rgb = tensors(net)['conv1.weight'].transpose(2, 3, 1, 0)
    kernel = v['params']['flow_stem']['conv1']['kernel']
    assert kernel.shape == (7, 7, channels, 4)
    for c in range(channels):
        np.testing.assert_allclose(kernel[:, :, c], rgb.mean(2), rtol=1e-6)
    np.testing.assert_array_equal(v['params']['flow_stem']['bn1']['scale'], tensors(net)['bn1.weight'])
    assert ('stem' in v['params']) == ('rgb' in streams)
