"""One name for one set of parameters."""

import jax
import numpy as np

from jaxreid.evaluation import fingerprint

VARIABLES = {
    'params': {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.ones(3, np.float32)},
    'batch_stats': {'mean': np.zeros(3, np.float32)},
}


def test_a_fingerprint_depends_on_every_number_its_place_and_its_name():
    own = fingerprint.of(VARIABLES)
    assert fingerprint.of(jax.tree.map(jax.numpy.asarray, VARIABLES)) == own
    assert len(own) == 16
    params = VARIABLES['params']
    others = [
        {'params': params | {'b': np.array([1, 1, 1.0000001], np.float32)}},
        {'params': params | {'a': params['a'].reshape(3, 2)}},
        {'params': params | {'a': params['a'].astype(np.float64)}},
        {'params': {'a': params['a'], 'c': params['b']}},
        {'batch_stats': {'mean': np.full(3, -0.0, np.float32)}},
    ]
    assert len({own, *(fingerprint.of(VARIABLES | other) for other in others)}) == 6
