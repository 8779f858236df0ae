import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import batch_norm
from jaxreid.layers.kernels import batch_norm_kernels


def test_the_kernel_sums_what_is_rectified():
    rng = np.random.default_rng(0)
    x, g = (jnp.asarray(rng.normal(size=(2, 512, 128)), jnp.bfloat16) for _ in range(2))
    mean, gain, bias = rng.normal(size=(3, 2, 128)).astype(np.float32)
    total, slope = batch_norm_kernels.sums(x, g, mean, gain, bias, interpret=True)
    assert total.dtype == slope.dtype == jnp.float32
    centred = np.asarray(x, np.float64) - mean[:, None]
    rectified = np.where(centred * gain[:, None] + bias[:, None] > 0, np.asarray(g, np.float64), 0)
    np.testing.assert_allclose(total, rectified.sum(1), atol=1e-3)
    np.testing.assert_allclose(slope, (rectified * centred).sum(1), atol=1e-3)


@pytest.mark.parametrize(
    ('rows', 'channels', 'dtype', 'fits'),
    [(512, 64, jnp.bfloat16, True), (256, 2048, jnp.float16, True), (384, 64, jnp.bfloat16, False),
     (512, 96, jnp.bfloat16, False), (512, 64, jnp.float32, False)],
)  # fmt: skip
def test_the_kernel_takes_whole_blocks_of_16_bits(rows, channels, dtype, fits):
    assert batch_norm_kernels.fit(jax.ShapeDtypeStruct((1, rows, channels), dtype)) is fits


@pytest.mark.slow
@pytest.mark.aot
def test_compiled_for_a_gpu_no_rectified_gradient_and_no_question_is_written(uncached):
    pytest.importorskip('jax_plugins.xla_cuda13', reason='the compiler of GPUs is not installed')
    from jaxreid.plan import hlo, targets

    device = targets.devices(targets.parse('h200:1'))[0]
    place = jax.sharding.SingleDeviceSharding(device)
    x = jax.ShapeDtypeStruct((1, 1024, 128), jnp.bfloat16, sharding=place)
    c = jax.ShapeDtypeStruct((128,), jnp.float32, sharding=place)
    moment = jax.ShapeDtypeStruct((1, 128), jnp.float32, sharding=place)

    def back(x, g, scale, bias, mean, variance):
        call = lambda x: batch_norm.normalise(x, scale, bias, mean, variance, None, True, 1, None)  # noqa: E731
        return jax.vjp(call, x)[1](g)

    text = jax.jit(back).trace(x, x, c, c, moment, moment).lower().compile().as_text()
    assert 'pallas_call' in text
    written = [array for move in hlo.Program(text).moves for array in move.instruction.results]
    assert [array.dtype for array in written if array.bytes >= 1024 * 128] == ['bf16']  # the result
