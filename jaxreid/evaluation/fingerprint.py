"""A name for the parameters of a network: features of two networks must not be compared."""

import hashlib

import jax
import numpy as np


def of(variables: dict) -> str:
    """16 hexadecimal digits that depend on every parameter and statistic, and on their names, and on nothing else."""
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves):
        array = np.ascontiguousarray(leaf)
        digest.update(f'{path} {array.dtype} {array.shape}'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
