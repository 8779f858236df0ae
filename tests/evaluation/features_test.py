"""What is gathered of a tracklet's clips, against loops over single clips."""

import jax
import numpy as np
import pytest

from jaxreid import sharding
from jaxreid.evaluation import features


def test_clips_of_a_tracklet_are_averaged_and_what_counts_is_summed_whatever_shares_their_batches():
    rng = np.random.default_rng(0)
    mesh = sharding.make_mesh(jax.devices()[:4])
    batches = [
        {
            'clips': rng.integers(0, 255, (8, 2, 1, 1, 3)).astype(np.uint8),
            'tracklet': rng.integers(0, 3, 8).astype(np.int32),
            'valid': rng.random(8) < 0.7,
        }
        for _ in range(5)
    ]

    def eval_step(variables, inputs):
        values = inputs['clips'].reshape(8, -1) * variables['scale']
        return {'embedding': values, 'embedding_before_neck': values[:, :2] + 1, 'spatial_items': values[:, 2:]}

    made = features.over_clips(
        jax.jit(eval_step), {'scale': np.float32(0.5)}, iter(batches), 4, mesh=mesh, total=5, label='test'
    )
    for row in range(3):
        own = [
            0.5 * clip.reshape(-1)
            for batch in batches
            for clip, of, valid in zip(batch['clips'], batch['tracklet'], batch['valid'], strict=True)
            if valid and of == row
        ]
        assert len(own) > 1
        np.testing.assert_allclose(made['embedding'][row], np.mean(own, axis=0), rtol=1e-6)
        np.testing.assert_allclose(made['embedding_before_neck'][row], np.mean(own, axis=0)[:2] + 1, rtol=1e-6)
        np.testing.assert_allclose(made['spatial_items'][row], np.sum(own, axis=0)[2:], rtol=1e-6)
    assert not made['embedding'][3].any()  # a tracklet without clips


def test_used_items_are_two_to_the_entropy_of_the_counts():
    assert features.used_items(np.array([5.0, 5, 5, 5]))['used'] == pytest.approx(4)
    assert features.used_items(np.array([0.0, 9, 0]))['used'] == pytest.approx(1)
    assert features.used_items(np.array([1.0, 1, 2]))['used'] == pytest.approx(2**1.5)
