import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import batch_norm, head

TRAIN = functools.partial(batch_norm.BatchNorm, train=True)


def init(kind, d=400, num_ids=50):
    return head.Head(kind, num_ids, TRAIN).init(jax.random.key(0), jnp.zeros((2, d)))


def test_head_a_trains_its_shift_and_has_a_bias():
    params = init('a')['params']
    assert params.keys() == {'neck', 'classifier', 'classifier_bias'}
    assert params['neck'].keys() == {'scale', 'bias'}
    assert abs(float(params['neck']['scale'].mean()) - 1) < 0.01
    assert 0.015 < float(params['neck']['scale'].std()) < 0.025
    assert not params['neck']['bias'].any()
    assert 0.0009 < float(params['classifier'].std()) < 0.0011
    assert not params['classifier_bias'].any()


def test_head_b_freezes_the_shift_and_has_no_bias():
    params = init('b')['params']
    assert params.keys() == {'neck', 'classifier'}
    np.testing.assert_array_equal(params['neck']['scale'], 1)
    assert params['neck'].keys() == {'scale'}


def test_the_frozen_shift_is_stored_and_added_but_no_step_changes_it():
    x = jax.random.normal(jax.random.key(1), (6, 4))
    layer = head.Head('b', 5, TRAIN)
    v = layer.init(jax.random.key(0), x)
    np.testing.assert_array_equal(v['batch_stats']['neck']['bias'], 0)
    without, _ = layer.apply(v, x, mutable=['batch_stats'])[0]
    v['batch_stats']['neck']['bias'] = jnp.arange(4.0)
    (embedding, _), changed = layer.apply(v, x, mutable=['batch_stats'])
    np.testing.assert_allclose(embedding - without, np.broadcast_to(np.arange(4.0), (6, 4)), atol=1e-6)
    np.testing.assert_array_equal(changed['batch_stats']['neck']['bias'], np.arange(4.0))


def test_a_plain_head_is_a_classifier_without_neck_and_bias():
    x = jax.random.normal(jax.random.key(1), (6, 4))
    v = head.Head('plain', 5, TRAIN).init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, v) == {'params': {'classifier': (4, 5)}}
    embedding, logits = head.Head('plain', 5, TRAIN).apply(v, x)
    np.testing.assert_array_equal(embedding, x)
    np.testing.assert_allclose(logits, x @ v['params']['classifier'], rtol=1e-6)


def test_logits_are_taken_from_the_embedding_after_the_neck():
    x = jax.random.normal(jax.random.key(1), (6, 4)) * 3 + 2
    layer = head.Head('a', 5, TRAIN)
    v = layer.init(jax.random.key(0), x)
    (embedding, logits), _ = layer.apply(v, x, mutable=['batch_stats'])
    standard = (x - x.mean(0, keepdims=True)) / x.std(0, keepdims=True)
    np.testing.assert_allclose(embedding, standard * v['params']['neck']['scale'][None], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(logits, embedding @ v['params']['classifier'], rtol=1e-5, atol=1e-7)


def test_averaging_clips_before_or_after_the_neck_is_the_same_in_evaluation():
    x = jax.random.normal(jax.random.key(1), (6, 4))
    v = init('a', 4, 5)
    v['batch_stats']['neck'] = {'mean': jnp.arange(4.0), 'var': jnp.arange(1.0, 5)}
    layer = head.Head('a', 5, functools.partial(batch_norm.BatchNorm, train=False))
    after, _ = layer.apply(v, x)
    before, _ = layer.apply(v, x.mean(0, keepdims=True))
    np.testing.assert_allclose(after.mean(0, keepdims=True), before, rtol=1e-5, atol=1e-6)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match='Valid: a, b, plain'):
        init('c')
