import jax.numpy as jnp
import numpy as np

from jaxreid.evaluation.references import stripe_pools


def test_pools_are_those_of_the_loops():
    maps = np.random.default_rng(0).uniform(size=(2, 3, 4, 2, 5)).astype(np.float32)
    energy = np.square(maps).sum(-1)
    attention = energy / energy.sum((2, 3), keepdims=True)
    found = stripe_pools.pools(jnp.asarray(maps), jnp.asarray(attention), stripes=2)
    np.testing.assert_allclose(found['mean of the frames'], maps.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found['first frame alone'], maps[:, 0].mean((1, 2)), rtol=1e-5)
    for b in range(2):
        strongest, weighted = np.zeros((4, 2, 5)), np.zeros((4, 2, 5))
        for k in range(2):
            rows = slice(2 * k, 2 * k + 2)
            share = attention[b, :, rows].sum((1, 2))
            share = share / share.sum()
            strongest[rows] = maps[b, share.argmax(), rows]
            weighted[rows] = sum(share[n] * maps[b, n, rows] for n in range(3))
        np.testing.assert_allclose(found['F2, weighted'][b], weighted.mean((0, 1)), rtol=1e-5)
        np.testing.assert_allclose(found['F1, strongest stripes'][b], strongest.mean((0, 1)), rtol=1e-5)
        both = np.concatenate([strongest, weighted], axis=-1).mean((0, 1))
        np.testing.assert_allclose(found['F1 beside F2'][b], both, rtol=1e-5)
