"""CLIP's image tower under the names of OpenAI and of timm, and what does not fit."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxreid import config
from jaxreid.models import vit
from jaxreid.weights import clip, state_file, torch_names

torch = pytest.importorskip('torch')

from tests.oracles import torch_vit  # noqa: E402

GRID = (4, 4)  # of square images, as CLIP's are


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))


def settings(weights='', height=16, width=16):
    e = config.Experiment(vit=config.Vit(width=12, depth=2, heads=3, patch=4, projection=5))
    e.data.height, e.data.width = height, width
    e.backbone = config.Backbone(block='c2d', init='clip', weights=str(weights))
    return e


def fresh(e):
    size = (e.data.height, e.data.width)
    model = vit.Vit(e.vit, size)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *size, 3), np.float32))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes['params'])
    return model, {'params': {'visual': zeros, 'head': {'classifier': np.ones((2, 2))}}}


@pytest.fixture(scope='module')
def net():
    return torch_vit.shaken(torch_vit.Vit(width=12, depth=2, heads=3, patch=4, projection=5, grid=GRID)).eval()


def openai(net):
    """As whole CLIP names it, with some of its text tower."""
    visual = {f'visual.{name}': value.detach().numpy() for name, value in net.state_dict().items()}
    return visual | {'logit_scale': np.ones(1, np.float32), 'ln_final.weight': np.ones(3, np.float32)}


def timm(net):
    """As timm names it: a tower that ends with a head."""
    state = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    renamed = {
        'cls_token': state.pop('class_embedding')[None, None],
        'pos_embed': state.pop('positional_embedding')[None],
        'patch_embed.proj.weight': state.pop('conv1.weight'),
        'head.weight': state.pop('proj').T,
    }
    words = {
        'transformer.resblocks': 'blocks', 'ln_pre': 'norm_pre', 'ln_post': 'norm', 'ln_1': 'norm1', 'ln_2': 'norm2',
        'attn.in_proj_': 'attn.qkv.', 'attn.out_proj': 'attn.proj', 'mlp.c_fc': 'mlp.fc1', 'mlp.c_proj': 'mlp.fc2',
    }  # fmt: skip
    for name, value in state.items():
        for theirs, new in words.items():
            name = name.replace(theirs, new)
        renamed[name] = np.ascontiguousarray(value)
    return renamed


@pytest.mark.parametrize('naming', [openai, timm])
def test_the_tower_computes_what_pytorch_does_with_the_file(net, naming, tmp_path):
    file = tmp_path / 'clip.safetensors'
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in naming(net).items()}, file)
    e = settings(file)
    model, variables = fresh(e)
    variables = clip.initialise(variables, e)
    frames = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    found = jax.jit(model.apply)({'params': variables['params']['visual']}, frames)
    with torch.no_grad():
        expected = net(torch.tensor(frames).movedim(-1, 1))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(variables['params']['head']['classifier'], np.ones((2, 2)))


def test_only_positions_change_with_the_size_of_frames_and_no_name_is_left_over(net):
    e = settings(height=24, width=12)
    _, variables = fresh(e)
    found = traverse_util.flatten_dict(clip.fit(variables, openai(net), e, source='test'))
    names = torch_names.vit(2, 'openai')
    assert len(names) == len(net.state_dict())
    for name, entry in names.items():
        theirs = net.state_dict()[name].numpy()
        if entry.path != clip.POSITIONS:
            np.testing.assert_array_equal(torch_names.to_theirs(np.asarray(found[entry.path]), entry), theirs)
    kept = net.positional_embedding.detach()
    grid = kept[1:].reshape(1, *GRID, 12).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(6, 3), mode='bilinear').permute(0, 2, 3, 1).reshape(-1, 12)
    np.testing.assert_allclose(found[clip.POSITIONS], torch.cat([kept[:1], grid]), rtol=1e-5, atol=1e-6)


def test_openai_s_names_of_the_whole_tower_are_152():
    assert len(torch_names.vit(12, 'openai')) == len(torch_names.vit(12, 'timm')) == 152


def test_every_name_and_shape_that_does_not_fit_is_listed(net):
    e = settings()
    _, variables = fresh(e)
    wrong = openai(net)
    wrong['visual.extra'] = wrong.pop('visual.proj')
    wrong['visual.ln_pre.bias'] = np.zeros(3, np.float32)
    wrong['visual.positional_embedding'] = np.zeros((12, 12), np.float32)  # of no square
    with pytest.raises(state_file.WeightsError) as caught:
        clip.fit(variables, wrong, e, source='the file')
    for part in (
        'extra: not in the model',
        'proj: not in the file',
        'ln_pre.bias: shape (3,)',
        'positional_embedding: s',
    ):
        assert part in str(caught.value)


def test_without_weights_the_message_says_what_to_place_where():
    with pytest.raises(state_file.WeightsError, match=r'(?s)No CLIP weights.*clip_vit_b16.*init=random'):
        clip.find('')
    with pytest.raises(state_file.WeightsError, match='there is no such file'):
        clip.find('/nowhere/clip.safetensors')


def test_a_torchscript_archive_is_refused_with_the_conversion_to_make(tmp_path):
    class Program(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Linear(2, 3)

        def forward(self, x):
            return self.conv1(x)

    file = tmp_path / 'ViT-B-16.pt'
    torch.jit.trace(Program(), torch.zeros(1, 2)).save(str(file))
    with pytest.raises(state_file.WeightsError, match=r'TorchScript archive.*not run') as caught:
        state_file.read(file)
    command = (
        str(caught.value)
        .partition('in Python: ')[2]
        .replace("'clip.safetensors'", repr(str(tmp_path / 'c.safetensors')))
    )
    import safetensors.torch

    exec(command, {'torch': torch, 'safetensors': safetensors})
    assert state_file.read(tmp_path / 'c.safetensors').keys() == {'conv1.weight', 'conv1.bias'}
