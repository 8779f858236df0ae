import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import spatial_conv


@pytest.mark.parametrize(('size', 'stride'), [(7, 2), (3, 1), (3, 2), (1, 1), (1, 2)])
@pytest.mark.parametrize('hw', [(8, 6), (7, 5)])
def test_padding_and_stride_are_pytorchs(size, stride, hw):
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, *hw, 4)).astype(np.float32)
    layer = spatial_conv.SpatialConv(5, size, stride)
    v = layer.init(jax.random.key(0), x)
    y = layer.apply(v, x)
    kernel = torch.tensor(np.asarray(v['params']['kernel'])).permute(3, 2, 0, 1)
    frames = torch.tensor(x.reshape(6, *hw, 4)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.conv2d(frames, kernel, stride=stride, padding=size // 2).permute(0, 2, 3, 1)
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_kernels_start_he_normal_by_outputs():
    kernel = spatial_conv.HE_FAN_OUT(jax.random.key(0), (3, 3, 16, 64), jnp.float32)
    assert abs(float(kernel.std()) / (2 / (9 * 64)) ** 0.5 - 1) < 0.05
