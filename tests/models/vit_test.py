"""The tower against PyTorch, its sizes and cost, and frames of another size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxreid import config
from jaxreid.layers.transformer import blocks
from jaxreid.models import cost, vit
from jaxreid.weights import torch_names
from tests.fixtures import torch_gradients

torch = pytest.importorskip('torch')

from tests.oracles import torch_vit  # noqa: E402

SMALL = config.Vit(width=12, depth=2, heads=3, patch=4, projection=5)
SIZE = (12, 8)


def theirs(seed=0):
    """The same network in PyTorch, float64."""
    return torch_vit.grown(torch_vit.Vit(width=12, depth=2, heads=3, patch=4, projection=5, grid=(3, 2)), seed)


def ours(net, *, names=None):
    """Our parameters of PyTorch's."""
    names = names or torch_names.vit(2, 'openai')
    state = {name: value.detach().numpy() for name, value in net.named_parameters()}
    assert state.keys() == names.keys()
    flat = {entry.path[2:]: torch_names.to_ours(state[name], entry) for name, entry in names.items()}
    return {'params': traverse_util.unflatten_dict(flat)}


@pytest.mark.parametrize('remat', [False, True])
def test_tokens_projections_and_gradients_are_those_of_pytorch(remat):
    with jax.enable_x64(True):
        net, rng = theirs(), np.random.default_rng(0)
        frames, beside = rng.normal(size=(3, *SIZE, 3)), rng.normal(size=(3, 12))
        of_tokens, of_projected = rng.normal(size=(3, 7, 12)), rng.normal(size=(3, 7, 5))
        model, variables = vit.Vit(SMALL, SIZE, remat=remat, dtype=jnp.float64), ours(net)

        def loss(variables, frames, beside):
            tokens, projected = model.apply(variables, frames, beside)
            return (tokens * of_tokens).sum() + (projected * of_projected).sum(), (tokens, projected)

        (_, found), grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(variables, frames, beside)
        inputs = [torch.tensor(x, requires_grad=True) for x in (frames, beside)]
        expected = net(inputs[0].movedim(-1, 1), inputs[1])
        ((expected[0] * torch.tensor(of_tokens)).sum() + (expected[1] * torch.tensor(of_projected)).sum()).backward()
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b.detach(), rtol=1e-5, atol=1e-5)
        torch_gradients.check(grads[0]['params'], net, torch_names.vit(2, 'openai'), skip=2)
        for a, b in zip(grads[1:], inputs, strict=True):
            np.testing.assert_allclose(a, b.grad, rtol=1e-5, atol=1e-5)


def test_positions_are_resized_for_frames_of_another_size_as_pytorch_interpolates():
    with jax.enable_x64(True):
        net, wanted = theirs(), (8, 16)  # fewer rows, more columns
        frames = np.random.default_rng(1).normal(size=(2, *wanted, 3))
        found = jax.jit(vit.Vit(SMALL, SIZE, dtype=jnp.float64).apply)(ours(net), frames)[0]
        kept = net.positional_embedding.detach()
        grid = kept[1:].reshape(1, 3, 2, 12).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=(2, 4), mode='bilinear', align_corners=False)
        resized = torch.cat([kept[:1], grid.permute(0, 2, 3, 1).reshape(-1, 12)])
        net.positional_embedding = torch.nn.Parameter(resized)
        expected = net(torch.tensor(frames).movedim(-1, 1))[0]
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-5)


ADAPTERS = {
    'adapter_time.down': ('adapter_time/down', torch_names.DENSE),
    'adapter_time.attn': ('adapter_time/attn/qkv', torch_names.IN_PROJECTION),
    'adapter_time.attn.out_proj': ('adapter_time/attn/out', torch_names.DENSE),
    'adapter_time.up': ('adapter_time/up', torch_names.DENSE),
    'adapter_mlp.0': ('adapter_mlp/fc', torch_names.DENSE),
    'adapter_mlp.2': ('adapter_mlp/proj', torch_names.DENSE),
}


def test_a_block_with_adapters_and_its_gradient_are_those_of_pytorch():
    table = {**torch_names.VIT_BLOCK, **ADAPTERS}
    names = {
        f'{module}.{leaf}': torch_names.Entry(('params', *ours.split('/'), to.name), to.theirs, to.ours)
        for module, (ours, kind) in table.items()
        for leaf, to in kind.items()
    }
    with jax.enable_x64(True):
        net = torch_vit.grown(torch_vit.AdaptedBlock(12, 3, 8, 3))
        state = {name: value.detach().numpy() for name, value in net.named_parameters()}
        assert state.keys() == names.keys()
        flat = {entry.path: torch_names.to_ours(state[name], entry) for name, entry in names.items()}
        rng = np.random.default_rng(4)
        x, of = rng.normal(size=(6, 5, 12)), rng.normal(size=(6, 5, 12))  # two clips of three frames
        block = blocks.Block(3, dtype=jnp.float64, adapter=8, frames=3)

        def loss(variables, x):
            y = block.apply(variables, x)
            return (y * of).sum(), y

        grad = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        (_, found), (grads, to_x) = grad(traverse_util.unflatten_dict(flat), x)
        given = torch.tensor(x, requires_grad=True)
        expected = net(given.transpose(0, 1)).transpose(0, 1)
        (expected * torch.tensor(of)).sum().backward()
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(to_x, given.grad, rtol=1e-5, atol=1e-5)
        torch_gradients.check(grads, net, names, skip=0)


def test_adapters_have_the_parameters_of_the_paper_in_every_block():
    model = vit.Vit(config.Vit(adapters=256), (256, 128))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256, 128, 3)))
    total, parts = cost.parameters(shapes)
    assert parts['adapter_time'] + parts['adapter_mlp'] == 12 * 1_051_648 == total - 86_140_416


def full():
    """CLIP's ViT-B/16 on frames of 256 x 128: shapes only."""
    model = vit.Vit(config.Vit(), (256, 128))
    return model, jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256, 128, 3)))


def test_clip_s_tower_has_exactly_its_parameters_and_multiply_accumulates():
    model, shapes = full()
    assert cost.parameters(shapes)[0] == 86_140_416
    apply = jax.make_jaxpr(lambda v, x: model.apply(v, x)[1])
    macs = cost.macs(apply(shapes, jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.float32)).jaxpr)
    # Projections, attention over 129 tokens, patches and the projection of every token.
    tokens, width = 129, 768
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    assert macs == 12 * block + 128 * (16 * 16 * 3) * width + tokens * width * 512
    assert macs / 1e9 == pytest.approx(11.390, abs=5e-4)


def test_bfloat16_keeps_parameters_in_float32_and_is_near():
    frames = np.random.default_rng(2).normal(size=(2, *SIZE, 3)).astype(np.float32)
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), ours(theirs()))
    exact = jax.jit(vit.Vit(SMALL, SIZE).apply)(variables, frames)[0]
    model = vit.Vit(SMALL, SIZE, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), frames)
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype('float32')}
    found = jax.jit(model.apply)(variables, frames)[0]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), exact, atol=0.05 * float(jnp.abs(exact).max()))


def test_frames_that_do_not_split_into_patches_are_refused():
    with pytest.raises(ValueError, match=r'13 x 8 do not split into patches of vit.patch = 4'):
        vit.Vit(SMALL, SIZE).init(jax.random.key(0), np.zeros((1, 13, 8, 3), np.float32))
