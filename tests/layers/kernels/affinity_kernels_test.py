import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import affinity
from jaxreid.layers.kernels import affinity_kernels

KAPPA = 1.7


def vectors(p, d, dtype=jnp.bfloat16):
    return jnp.asarray(np.random.default_rng(p).normal(size=(2, p, d)) / d**0.5, dtype)


@pytest.mark.parametrize(('p', 'd'), [(16, 5), (64, 32), (256, 8), (1024, 16)])
def test_the_kernels_make_the_masks_and_gradients_of_plain_softmax(p, d):
    branches = vectors(p, d), vectors(p, 2 * d + 1)
    total, shown = affinity_kernels.mixture(branches, kappa=KAPPA, interpret=True)
    slope = vectors(p, p)
    found = affinity_kernels.through_softmax(branches, slope, kappa=KAPPA, interpret=True)
    assert {z.dtype for z in (total, *found)} == {slope.dtype}
    expected_total = 0
    for v, (entropy, own, columns), back in zip(branches, shown, found, strict=True):
        exact = np.asarray(v, np.float64)
        cov = KAPPA * np.einsum('bpd,bqd->bpq', exact, exact)
        weights = np.exp(cov - cov.max(-1, keepdims=True))
        m = weights / weights.sum(-1, keepdims=True)
        expected_total += m
        np.testing.assert_allclose(entropy, -(m * np.log(m)).sum(-1), rtol=1e-2)
        np.testing.assert_allclose(own, np.einsum('bpp->bp', m), rtol=1e-2)
        np.testing.assert_allclose(columns, m.sum(1), rtol=1e-2)
        s = np.asarray(slope, np.float64)
        expected = KAPPA * m * (s - np.einsum('bpq,bpq->bp', m, s)[..., None])
        assert np.abs(np.asarray(back, np.float64) - expected).max() < 2e-2 * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(total, np.float64), expected_total, atol=2 / 256)


@pytest.mark.parametrize(
    ('p', 'dtype', 'fits'),
    [(512, jnp.bfloat16, True), (128, jnp.float16, True), (512, jnp.float32, False), (512, jnp.float64, False),
     (96, jnp.bfloat16, False), (2048, jnp.bfloat16, False), (8, jnp.bfloat16, False), (1, jnp.bfloat16, False)],
)  # fmt: skip
def test_kernels_take_what_they_are_made_for(p, dtype, fits):
    v = jax.ShapeDtypeStruct((2, p, 32), dtype)
    assert affinity_kernels.fit([v, v]) is fits
    assert not affinity_kernels.fit([v, jax.ShapeDtypeStruct((2, p, 32), jnp.float32)])


@pytest.mark.slow
@pytest.mark.aot
@pytest.mark.parametrize(('gpu', 'p', 'transposed'), [('h200', 512, False), ('a100', 1024, True)])
def test_compiled_for_a_gpu_no_covariance_is_written(gpu, p, transposed, uncached):
    pytest.importorskip('jax_plugins.xla_cuda13', reason='the compiler of GPUs is not installed')
    from jaxreid.plan import targets

    device = targets.devices(targets.parse(f'{gpu}:1'))[0]
    place = jax.sharding.SingleDeviceSharding(device)
    x, v = (jax.ShapeDtypeStruct((2, p, n), t, sharding=place) for n, t in ((256, jnp.bfloat16), (24, jnp.float32)))

    def loss(x, v):
        out, shown = affinity.mix(x, [v, 2 * v], kappa=KAPPA, transposed=transposed)
        return out.astype(jnp.float32).sum(), shown

    text = jax.jit(jax.grad(loss, (0, 1), has_aux=True)).trace(x, v).lower().compile().as_text()
    assert text.count('pallas_call') >= 2  # forward and backward, all branches at once
    entry = text[text.index('ENTRY') :]
    assert f'bf16[2,{p},{p}]' in entry
    assert 'exponential' not in text  # no mask is made outside of the kernels
    assert f'f32[2,{p},{p}]' not in entry
