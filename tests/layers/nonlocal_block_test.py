import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxreid.layers import batch_norm, nonlocal_block

NORM = functools.partial(batch_norm.BatchNorm, train=False)


def test_it_starts_as_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4, 8))
    y, _ = nonlocal_block.NonLocalBlock(NORM).init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(y, x)


def test_every_position_of_every_frame_looks_at_all_pooled_keys_of_the_clip():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 4, 6)).astype(np.float32)
    block = nonlocal_block.NonLocalBlock(NORM)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    v = jax.tree.map(lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes)
    v['batch_stats'] = jax.tree.map(jnp.abs, v['batch_stats'])
    y = block.apply(v, x)
    p = {'/'.join(k): np.asarray(a) for k, a in traverse_util.flatten_dict(v['params']).items()}
    stats = v['batch_stats']['norm']

    for clip, result in zip(x, y, strict=True):
        keys, values = [], []
        for frame in clip:
            phi = frame @ p['phi/kernel'] + p['phi/bias']
            g = frame @ p['g/kernel'] + p['g/bias']
            for i in (0, 2):  # the fifth row has no partner and drops out
                for j in (0, 2):
                    keys.append(phi[i : i + 2, j : j + 2].max((0, 1)))
                    values.append(g[i : i + 2, j : j + 2].max((0, 1)))
        for t, i, j in np.ndindex(3, 5, 4):
            theta = clip[t, i, j] @ p['theta/kernel'] + p['theta/bias']
            weights = np.exp([theta @ k for k in keys])
            mixed = sum(w * g for w, g in zip(weights / weights.sum(), values, strict=True))
            out = mixed @ p['out/kernel'] + p['out/bias']
            out = (out - stats['mean']) / np.sqrt(stats['var'] + 1e-5) * p['norm/scale'] + p['norm/bias']
            np.testing.assert_allclose(result[t, i, j], clip[t, i, j] + out, rtol=1e-3, atol=1e-3)
