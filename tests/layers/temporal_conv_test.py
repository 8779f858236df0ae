import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import spatial_conv, temporal_conv


def both(layer, x, torch_weight_axes, padding, stride):
    """Our output and gradient on random kernels, and those of PyTorch's 3-D convolution."""
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(1)
    v = jax.tree.map(lambda k: jnp.asarray(rng.normal(size=k.shape), jnp.float32), layer.init(jax.random.key(0), x))
    weight = rng.normal(size=layer.apply(v, x).shape).astype(np.float32)
    y = layer.apply(v, x)
    grad = jax.jit(jax.grad(lambda v: (layer.apply(v, x) * weight).sum()))(v)['params']['kernel']
    kernel = torch.tensor(np.asarray(v['params']['kernel'])).requires_grad_()
    stretched = kernel if kernel.ndim == 5 else kernel[:, None, None]
    y_torch = torch.nn.functional.conv3d(
        torch.tensor(x).movedim(-1, 1),
        stretched.permute(torch_weight_axes),
        padding=padding,
        stride=(1, stride, stride),
    ).movedim(1, -1)
    (y_torch * torch.tensor(weight)).sum().backward()
    return (y, grad), (y_torch.detach(), kernel.grad)


@pytest.mark.parametrize(('t', 'stride'), [(1, 1), (2, 2), (5, 1)])
@pytest.mark.parametrize('kind', ['temporal', 'inflated'])
def test_values_and_gradients_are_those_of_a_3d_convolution(t, stride, kind):
    x = np.random.default_rng(0).normal(size=(2, t, 5, 4, 3)).astype(np.float32)
    layer = {'temporal': temporal_conv.TemporalConv, 'inflated': temporal_conv.InflatedConv}[kind](stride)
    padding = (1, 0, 0) if kind == 'temporal' else 1
    ours, theirs = both(layer, x, (4, 3, 0, 1, 2), padding, stride)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_no_3d_convolution_primitive_is_used():
    x = jnp.ones((1, 3, 4, 4, 2))
    for layer in (temporal_conv.TemporalConv(), temporal_conv.InflatedConv()):
        program = jax.make_jaxpr(lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x)[0])(x)
        convs = [e for e in program.eqns if e.primitive.name == 'conv_general_dilated']
        assert all(e.invars[0].aval.ndim == 4 for e in convs)


def test_an_inflated_convolution_starts_as_its_2d_slice():
    x = jax.random.normal(jax.random.key(1), (2, 4, 6, 5, 3))
    y, v = temporal_conv.InflatedConv(2).init_with_output(jax.random.key(0), x)
    kernel = v['params']['kernel']
    flat = spatial_conv.convolve(x.reshape(8, 6, 5, 3), kernel[1], stride=2)
    np.testing.assert_allclose(y, flat.reshape(y.shape), rtol=1e-6, atol=1e-6)
    assert not kernel[0].any()
    assert not kernel[2].any()
    assert kernel[1].any()


def test_the_identity_tap_leaves_a_clip_unchanged():
    x = jax.random.normal(jax.random.key(1), (2, 3, 4, 2, 5))
    layer = temporal_conv.TemporalConv(kernel_init=temporal_conv.centre_tap(temporal_conv.identity))
    y, _ = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, x, rtol=1e-6)
